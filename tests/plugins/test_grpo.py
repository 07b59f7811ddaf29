from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from exact import Listed, every_answer, experienced, gradients, rollouts_of, table_policy
from rlaif_builtins.optimisers.grpo import Grpo
from rlaif_builtins.optimisers.update import Adam
from rlaif_core import ConfigError, Prompt, Sampling, TrainingError
from rlaif_core.testing import FakePolicy, check_optimiser, make_experience

STILL = Adam(lr=0.1, clip=0)
PROMPTS = [Prompt(id="one", text="is it red"), Prompt(id="two", text="yes or no")]

# Four answers of four, two, five and three tokens, as a policy, the one that drew them, and the reference see them.
LOGP = [[-1.2, -0.3, -2.1, -0.7, 0], [-0.4, -1.9, 0, 0, 0], [-0.9, -0.2, -1.4, -3.0, -0.6], [-2.2, -0.8, -0.1, 0, 0]]
OLD = [[-1.0, -0.9, -2.0, -0.75, 0], [-0.8, -1.6, 0, 0, 0], [-0.9, -0.5, -1.2, -2.4, -0.6], [-1.7, -0.8, -0.3, 0, 0]]
REFERENCE = [[-1.1, -0.8, -1.5, -0.7, 0], [-0.6, -1.3, 0, 0, 0], [-0.7, -0.6, -1.9, -2, -0.5], [-2, -1.1, -0.4, 0, 0]]
LENGTHS = [4, 2, 5, 3]
ADVANTAGES = torch.tensor([1.5, -0.5, 0.75, -1.25])


def tokens(rows: list[list[float]]) -> torch.Tensor:
    """[4,6] f64, with a column for the prompt in front."""
    return torch.nn.functional.pad(torch.tensor(rows, dtype=torch.float64), (1, 0))


MASK = torch.tensor([[0 < place <= length for place in range(6)] for length in LENGTHS])


def listed(*, fresh: bool = False, **options):
    """The four answers as a policy, an optimiser and a batch."""
    policy = Listed(tokens(LOGP), tokens(REFERENCE))
    optimiser = Grpo(**{"low": 0.2, "high": 0.28, "adam": STILL, **options})
    optimiser.prepare(policy, 1)
    rollouts = policy.rollouts(tokens(OLD), MASK)
    rollouts = replace(rollouts, policy_version=policy.version) if fresh else rollouts
    return policy, optimiser, experienced(rollouts, ADVANTAGES)


@pytest.mark.parametrize("options", [{}, {"epochs": 3}, {"kl": 0.0, "reference": False, "entropy": 0.01}])
def test_keeps_the_contract(options: dict) -> None:
    check_optimiser(lambda: Grpo(**options, adam=Adam(lr=0.05, microbatch=3)))


# What TRL 1.16.0 makes of the four answers, from its own code: `GRPOTrainer._compute_loss`, called on a trainer made
# with `__new__` and no model, whose `_get_per_token_logps_and_entropies` returns LOGP as an f64 leaf, with the inputs
# old_per_token_logps = OLD (or none: "fresh"), ref_per_token_logps = REFERENCE, advantages, num_items_in_batch = 14,
# and the settings epsilon_low = 0.2, epsilon_high = 0.28, importance_sampling_level = "token",
# max_completion_length = 8, one process, no accumulation. By (fresh, TRL's loss type, beta,
# use_bias_correction_kl): the loss, the norm of its gradient, the gradient of the third answer's five tokens.
MODES = {
    "grpo": {"aggregation": "sequence_mean"},
    "dapo": {"aggregation": "token_mean"},
    "luspo": {"aggregation": "sequence_sum"},  # where, as here, ratios are of tokens
    "dr_grpo": {"aggregation": "constant", "length": 8},
}
TRL = {
    (False, "grpo", 0.0, False): (-0.0964555, 0.2504217, [-0.0375, 0.0, -0.0307024, -0.0205804, -0.0375]),
    (False, "grpo", 0.5, False): (-0.0436346, 0.2870847, [-0.0430351, 0.008242, -0.0208657, -0.0635375, -0.0401293]),
    (False, "grpo", 0.5, True): (-0.0525539, 0.2821228, [-0.0425, 0.0134986, -0.0204683, -0.0343007, -0.04]),
    (False, "dapo", 0.0, False): (-0.3318036, 0.2470059, [-0.0535714, 0.0, -0.0438606, -0.0294006, -0.0535714]),
    (False, "dapo", 0.5, False): (-0.2746816, 0.2859043, [-0.0614787, 0.0117743, -0.0298081, -0.0907678, -0.0573275]),
    (False, "dapo", 0.5, True): (-0.2854324, 0.2745042, [-0.0607143, 0.0192837, -0.0292404, -0.049001, -0.0571429]),
    (False, "luspo", 0.0, False): (-1.1613125, 0.8645207, [-0.1875, 0.0, -0.153512, -0.1029022, -0.1875]),
    (False, "luspo", 0.5, False): (-0.9613856, 1.0006649, [-0.2151753, 0.04121, -0.1043284, -0.3176874, -0.2006464]),
    (False, "luspo", 0.5, True): (-0.9990135, 0.9607646, [-0.2125, 0.0674929, -0.1023413, -0.1715036, -0.2]),
    (False, "dr_grpo", 0.0, False): (-0.1451641, 0.1080651, [-0.0234375, 0.0, -0.019189, -0.0128628, -0.0234375]),
    (False, "dr_grpo", 0.5, False): (-0.1201732, 0.1250831, [-0.0268969, 0.0051512, -0.013041, -0.0397109, -0.0250808]),
    (False, "dr_grpo", 0.5, True): (-0.1248767, 0.1200956, [-0.0265625, 0.0084366, -0.0127927, -0.021438, -0.025]),
    (True, "grpo", 0.0, False): (-0.125, 0.2873188, [-0.0375, -0.0375, -0.0375, -0.0375, -0.0375]),
    (True, "grpo", 0.5, False): (-0.0721791, 0.3027965, [-0.0430351, -0.029258, -0.0276633, -0.0804571, -0.0401293]),
    (True, "grpo", 0.5, True): (-0.0721791, 0.2971256, [-0.0425, -0.0275, -0.025, -0.0625, -0.04]),
    (True, "dapo", 0.5, False): (-0.3000209, 0.3201982, [-0.0614787, -0.0417971, -0.0395189, -0.1149386, -0.0573275]),
    (True, "dapo", 0.5, True): (-0.3000209, 0.307848, [-0.0607143, -0.0392857, -0.0357143, -0.0892857, -0.0571429]),
    (True, "dr_grpo", 0.5, True): (-0.1312591, 0.1346835, [-0.0265625, -0.0171875, -0.015625, -0.0390625, -0.025]),
}


@pytest.mark.parametrize(("setting", "expected"), TRL.items(), ids=map(str, TRL))
def test_loss_and_gradient_are_those_of_trl(setting: tuple, expected: tuple) -> None:
    fresh, mode, beta, corrected = setting
    options = {"kl": beta, "kl_gradient": "k2" if corrected else "k3", **MODES[mode]}
    policy, optimiser, experience = listed(fresh=fresh, **options)
    (found,) = gradients(optimiser, policy, experience)
    loss, norm, third = expected
    assert found.norm().item() == pytest.approx(norm, rel=1e-6)
    assert found.reshape(4, 6)[2, 1:].tolist() == pytest.approx(third, abs=1e-7)
    if not corrected or fresh:  # TRL also shows the corrected KL; ours shows k3 whatever is descended
        assert optimiser.step(policy, experience)["loss"] == pytest.approx(loss, rel=1e-6)


def test_metrics_are_those_of_trl_and_by_hand() -> None:
    policy, optimiser, experience = listed(kl=0.5, kl_gradient="k3")
    optimiser._update._torch.step = lambda: None
    metrics = optimiser.step(policy, experience)
    logp, old, reference = (tokens(rows)[MASK] for rows in (LOGP, OLD, REFERENCE))
    k3 = (reference - logp).exp() - 1 - (reference - logp)
    ratio = (logp - old).exp()
    assert metrics["clip_fraction"] == pytest.approx(0.2857142857)  # TRL's clip_ratio/region_mean: four of 14 tokens
    assert metrics["kl"] == pytest.approx(k3.sum().item() / 4)  # nats an answer; TRL shows nats a token
    assert k3.mean().item() == pytest.approx(0.114243952972, rel=1e-7)  # TRL's
    assert metrics["approx_kl"] == pytest.approx((ratio - 1 - ratio.log()).mean().item(), rel=1e-6)
    assert metrics["entropy"] == pytest.approx((-logp * logp.exp()).mean().item())
    assert metrics["lr"] == 0.1
    assert set(metrics) == {"loss", "grad_norm", "clip_fraction", "kl", "approx_kl", "entropy", "lr"}


def test_the_kl_is_measured_on_every_answer_whether_it_counts_or_not() -> None:
    policy, optimiser, experience = listed()
    some = replace(experience, counted=torch.tensor([True, False, False, True]))
    policies = (tokens(rows)[MASK] for rows in (LOGP, REFERENCE))
    gap = torch.sub(*policies)
    expected = ((-gap).exp() - 1 + gap).sum().item() / 4
    assert optimiser.step(policy, some)["kl"] == pytest.approx(expected)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("microbatch", [1, 2, 3])
@pytest.mark.parametrize("fresh", [True, False])
def test_microbatches_leave_gradient_and_metrics_as_they_are(fresh: bool, microbatch: int, mode: dict) -> None:
    found, metrics = [], []
    for size in (None, microbatch):
        adam = replace(STILL, microbatch=size)
        policy, optimiser, experience = listed(fresh=fresh, **mode, kl=0.3, entropy=0.1, adam=adam)
        experience = replace(experience, counted=torch.tensor([True, True, False, True]))
        found += gradients(optimiser, policy, experience)
        metrics.append(optimiser.step(policy, experience))
    torch.testing.assert_close(found[0], found[1], atol=1e-15, rtol=1e-13)
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-12)
    assert not found[0].reshape(4, 6)[2].any()


def test_padding_changes_nothing() -> None:
    for mode in MODES.values():
        policy, optimiser, experience = listed(**mode)
        (plain,) = gradients(optimiser, policy, experience)

        def wider(values: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.pad(values, (0, 3))

        policy = Listed(wider(tokens(LOGP)), wider(tokens(REFERENCE)))
        optimiser = Grpo(low=0.2, high=0.28, adam=STILL, **mode)
        optimiser.prepare(policy, 1)
        padded = experienced(policy.rollouts(wider(tokens(OLD)), wider(MASK)), ADVANTAGES)
        (found,) = gradients(optimiser, policy, padded)
        torch.testing.assert_close(found.reshape(4, 9)[:, :6].flatten(), plain, atol=1e-15, rtol=1e-13)


def sampled(policy: FakePolicy, seed: int = 1):
    return make_experience(policy.sampler(seed=seed, step=1, group=4).sample(PROMPTS, Sampling(max_tokens=6)))


@pytest.mark.parametrize("kl", [0.0, 0.3])
def test_on_fresh_rollouts_the_step_is_reinforce_with_a_kl(kl: float) -> None:
    policy = FakePolicy()
    policy.keep_reference()
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    experience = sampled(policy)
    optimiser = Grpo(kl=kl, aggregation="token_mean", adam=STILL)
    optimiser.prepare(policy, 1)
    (found,) = gradients(optimiser, policy, experience)
    logp, mask = policy.logprobs(experience.rollouts), experience.mask
    gap = logp.detach() - policy.reference_logprobs(experience.rollouts)
    loss = -((experience.advantages["reward"] - kl * gap) * logp)[mask].mean()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(policy.module.parameters()))])
    torch.testing.assert_close(found, expected.double(), atol=1e-6, rtol=1e-4)


def test_in_expectation_the_kl_term_is_the_gradient_of_the_kl() -> None:
    policy = table_policy()
    rollouts = rollouts_of(policy, every_answer())
    chance = rollouts.logp.sum(1).exp()
    exact = torch.zeros(policy.module.logits.shape, dtype=torch.float64)
    for row in range(len(rollouts)):  # the KL charged to each token alone, given how the answer began
        one = rollouts.take([row])
        gap = policy.logprobs(one) - policy.reference_logprobs(one)
        exact += chance[row] * torch.autograd.grad((gap.detach() * gap).sum(), policy.module.logits)[0]
    found = torch.zeros_like(exact).flatten()
    for row in range(len(rollouts)):
        optimiser = Grpo(kl=1.0, aggregation="sequence_sum", adam=STILL)
        optimiser.prepare(policy, 1)
        one = replace(rollouts.take([row]), policy_version=policy.version)
        found += chance[row] * gradients(optimiser, policy, experienced(one, torch.zeros(1)))[0]
    torch.testing.assert_close(found, exact.flatten(), atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("microbatch", [None, 3])
def test_the_first_pass_over_fresh_rollouts_has_ratio_one_exactly(microbatch: int | None) -> None:
    policy = FakePolicy()
    optimiser = Grpo(epochs=1, adam=Adam(lr=0.5, microbatch=microbatch))
    optimiser.prepare(policy, 3)
    for step in range(3):
        metrics = optimiser.step(policy, sampled(policy, step))
        assert metrics["approx_kl"] == metrics["clip_fraction"] == 0
        assert (metrics["kl"] == 0) == (step == 0)


@pytest.mark.parametrize("microbatch", [None, 3])
def test_weights_that_stand_still_never_drift(microbatch: int | None) -> None:
    policy = FakePolicy()
    optimiser = Grpo(epochs=4, adam=Adam(lr=0.0, microbatch=microbatch))
    optimiser.prepare(policy, 2)
    for _ in range(2):
        metrics = optimiser.step(policy, sampled(policy))
        assert metrics["approx_kl"] == metrics["clip_fraction"] == metrics["kl"] == 0
    assert policy.version == 8


def test_later_epochs_are_clipped_against_the_policy_that_sampled() -> None:
    policy = FakePolicy()
    optimiser = Grpo(kl=0.0, epochs=3, aggregation="token_mean", adam=Adam(lr=0.3, clip=0))
    optimiser.prepare(policy, 1)
    experience = sampled(policy)
    old = policy.logprobs(experience.rollouts).detach()
    seen, expected = [], []
    inner = optimiser._update._torch.step

    def look() -> None:
        grads = [p.grad.clone() for p in policy.module.parameters()]
        seen.append(torch.cat([grad.flatten() for grad in grads]))
        ratio = (policy.logprobs(experience.rollouts) - old).exp()
        advantages = experience.advantages["reward"]
        gain = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)[experience.mask].mean()
        own = torch.autograd.grad(-gain, list(policy.module.parameters()))
        expected.append(torch.cat([grad.flatten() for grad in own]))
        inner()

    optimiser._update._torch.step = look
    metrics = optimiser.step(policy, experience)
    assert len(seen) == 3
    assert policy.version == 3
    for found, hand in zip(seen, expected, strict=True):
        torch.testing.assert_close(found, hand, atol=1e-6, rtol=1e-4)
    assert metrics["approx_kl"] > 0
    assert metrics["clip_fraction"] > 0
    assert metrics["kl"] == 0  # of the first pass, over the policy's own samples


def test_a_share_of_stale_rollouts_is_clipped_against_the_policy_that_sampled() -> None:
    """As with [run] updates = 2: the second share meets weights that have moved since it was drawn."""
    policy = FakePolicy()
    optimiser = Grpo(kl=0.0, adam=Adam(lr=0.3))
    optimiser.prepare(policy, 2)
    first, second = sampled(policy).split(2)
    assert optimiser.step(policy, first)["approx_kl"] == 0
    logp = policy.logprobs(second.rollouts).detach()
    drift = (logp - second.rollouts.logp)[second.mask]
    metrics = optimiser.step(policy, second)
    assert metrics["approx_kl"] == pytest.approx((drift.exp() - 1 - drift).mean().item(), rel=1e-4)
    assert metrics["approx_kl"] > 1e-3


def test_a_flat_group_still_feels_the_kl_and_nothing_without_it() -> None:
    policy = FakePolicy()
    for kl, moves in ((0.0, False), (0.5, True)):
        optimiser = Grpo(kl=kl, adam=STILL)
        optimiser.prepare(policy, 1)
        with torch.no_grad():
            policy.module.head.bias[3] += 1
        flat = experienced(sampled(policy).rollouts, torch.zeros(8))
        assert bool(gradients(optimiser, policy, flat)[0].any()) is moves


def test_without_a_reference_there_is_no_pass_through_it_and_no_kl() -> None:
    policy = FakePolicy()
    optimiser = Grpo(kl=0.0, reference=False, adam=Adam(lr=0.1))
    optimiser.prepare(policy, 1)
    with pytest.raises(ConfigError):  # nobody asked the policy to remember
        policy.reference_logprobs(sampled(policy).rollouts)
    assert "kl" not in optimiser.step(policy, sampled(policy))


def test_a_batch_of_which_nothing_counts_is_refused() -> None:
    policy, optimiser, experience = listed()
    with pytest.raises(TrainingError, match="every answer was left out"):
        optimiser.step(policy, replace(experience, counted=torch.zeros(4, dtype=torch.bool)))


def test_an_absurd_ratio_raises_instead_of_breaking_the_weights() -> None:
    policy, optimiser, experience = listed()
    far = replace(experience.rollouts, logp=torch.full((4, 6), -800.0).where(MASK, 0.0))
    before = policy.module.logp.detach().clone()
    with pytest.raises(TrainingError, match=r"the loss is (inf|nan); the weights are left as they were"):
        optimiser.step(policy, replace(experience, rollouts=far))
    assert torch.equal(policy.module.logp, before)
    assert math.isfinite(optimiser.step(policy, experience)["loss"])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"kl": -0.1}, "kl is -0.1"),
        ({"kl": math.inf}, "kl is inf"),
        ({"kl": 0.1, "reference": False}, "kl needs the reference"),
        ({"epochs": 0}, "epochs is 0"),
        ({"low": 1.0}, "low is 1.0 and high 0.2"),
        ({"high": 0.0}, "low is 0.2 and high 0.0"),
        ({"aggregation": "constant"}, "length is None, but aggregation 'constant' needs one"),
        ({"length": 5}, "length is 5, but aggregation 'sequence_mean' has none"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"optimiser 'grpo': {complaint}"):
        Grpo(**options)
