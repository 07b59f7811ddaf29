from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from checkpoints import checkpoint
from exact import every_answer, experienced, gradients, rollouts_of, table_policy
from rlaif_builtins.credits.gae import Gae
from rlaif_builtins.optimisers.ppo import Ppo
from rlaif_builtins.optimisers.update import Adam
from rlaif_core import ConfigError, DataError, Experience, Prompt, Sampling, TrainingError
from rlaif_core.policy import TransformersPolicy
from rlaif_core.testing import FakePolicy, check_optimiser, make_feedback

STILL = Adam(lr=0.1, clip=0)
PROMPTS = [
    Prompt(id=name, text=text) for name, text in (("one", "is it red"), ("two", "yes or no"), ("three", "one and"))
]


@pytest.mark.parametrize("options", [{}, {"minibatches": 2, "epochs": 2, "kl_target": 1.0, "kl_horizon": 10}])
def test_keeps_the_contract(options: dict) -> None:
    check_optimiser(lambda: Ppo(**options, adam=Adam(lr=0.05, microbatch=3)))


def prepared(policy, **options) -> Ppo:
    optimiser = Ppo(**{"adam": STILL, **options})
    optimiser.prepare(policy, 10)
    return optimiser


def credited(optimiser: Ppo, rollouts, rewards=None, **options) -> Experience:
    """The batch as the loop hands it over: scored by a source and the penalty, spread by `gae`."""
    rewards = rewards if rewards is not None else [float(row % 3) for row in range(len(rollouts))]
    brought = {name: source.score(rollouts) for name, source in optimiser.sources().items()}
    feedback = make_feedback(rollouts, {"it": rewards, **brought}, weights=optimiser.weights())
    feedback = replace(feedback, contributed=frozenset(brought))
    return Gae(**options).assign(rollouts, feedback, optimiser.critic())


def sampled(policy: FakePolicy, step: int = 1, group: int = 2):
    return policy.sampler(seed=1, step=step, group=group).sample(PROMPTS, Sampling(max_tokens=5))


def test_the_head_starts_at_zero_so_that_the_first_advantages_are_the_returns() -> None:
    policy = FakePolicy()
    optimiser, rollouts = prepared(policy), sampled(policy)
    assert not optimiser.critic().values(rollouts).any()
    assert not optimiser.critic().values_after(rollouts).any()
    experience = credited(optimiser, rollouts, lam=1.0, whiten=False)
    assert torch.equal(experience.advantages["reward"], experience.returns["reward"])
    assert set(optimiser.weights()) == set(optimiser.sources()) == {"kl"}


def test_values_are_a_linear_reading_of_the_state_that_each_token_was_chosen_in() -> None:
    policy = FakePolicy()
    optimiser, rollouts = prepared(policy, adam=Adam(lr=0.1, microbatch=2)), sampled(policy)
    with torch.no_grad():
        optimiser._head.weight.copy_(torch.randn(8))
        optimiser._head.bias.fill_(0.5)
    forward = policy.forward(rollouts, hidden=True)
    said = optimiser.critic().values(rollouts)
    expected = (forward.hidden @ optimiser._head.weight + 0.5).where(rollouts.mask, 0.0)
    torch.testing.assert_close(said, expected)
    assert not said.requires_grad
    after = optimiser.critic().values_after(rollouts)
    torch.testing.assert_close(after, forward.last @ optimiser._head.weight + 0.5)


def test_the_critic_looks_once_at_a_batch_and_again_when_the_weights_have_moved() -> None:
    policy = FakePolicy()
    optimiser, rollouts = prepared(policy), sampled(policy)
    looked = []
    inner = policy.forward
    policy.forward = lambda *a, **k: looked.append(torch.is_grad_enabled()) or inner(*a, **k)
    optimiser.critic().values(rollouts)
    optimiser.critic().values_after(rollouts)
    experience = credited(optimiser, rollouts)
    assert looked == [False]
    before = optimiser.critic().values(rollouts)
    optimiser.step(policy, experience)
    assert looked == [False, *[True] * 4]
    assert not torch.equal(optimiser.critic().values(rollouts), before)


def test_values_learn_the_returns_of_a_fixed_batch() -> None:
    """With a free value for every state, each reaches the mean of the returns that were had from there."""
    policy = table_policy()
    optimiser = prepared(policy, kl=0.0, value=1.0, epochs=1, adam=Adam(lr=0.05, schedule="cosine"), value_clip=None)
    optimiser._update._steps = 200
    rollouts, returns = rollouts_of(policy, every_answer()), torch.linspace(-1, 1, 15)
    before = policy.module.logits.detach().clone()
    for _ in range(200):
        optimiser.step(policy, experienced(rollouts, torch.zeros(15), returns=returns))
    had: dict[tuple[int, ...], list[float]] = {}
    places = [
        (row, place, tuple(rollouts.tokens[row, :place].tolist())) for row, place in rollouts.mask.nonzero().tolist()
    ]
    for row, _, state in places:
        had.setdefault(state, []).append(returns[row].item())
    assert len(had) == 7
    values = optimiser.critic().values(rollouts)
    for row, place, state in places:
        assert values[row, place].item() == pytest.approx(sum(had[state]) / len(had[state]), abs=0.02)
    assert torch.equal(policy.module.logits, before)


def test_a_step_by_hand() -> None:
    """One epoch over fresh rollouts: token means of -A log p and of half the squared error of the values."""
    policy = FakePolicy()
    optimiser = prepared(policy, epochs=1, value=0.3, entropy=0.2, kl=0.1)
    with torch.no_grad():
        optimiser._head.weight.copy_(torch.randn(8))
    rollouts = sampled(policy)
    experience = credited(optimiser, rollouts)
    mask, advantages, returns = experience.mask, experience.advantages["reward"], experience.returns["reward"]
    assert advantages[mask].mean().abs() < 1e-5
    forward = policy.forward(rollouts, entropy=True, hidden=True)
    error = (optimiser._head(forward.hidden) - returns).square() / 2
    loss = (0.3 * error - advantages * forward.logp - 0.2 * forward.entropy)[mask].mean()
    own = torch.autograd.grad(loss, [*policy.module.parameters(), *optimiser._head.parameters()])
    (found,) = gradients(optimiser, policy, experience)
    torch.testing.assert_close(found, torch.cat([g.flatten() for g in own]).double(), atol=1e-6, rtol=1e-4)
    metrics = optimiser.step(policy, experience)
    assert metrics["value_loss"] == pytest.approx(error[mask].mean().item(), rel=1e-5)
    assert metrics["entropy"] == pytest.approx(forward.entropy[mask].mean().item(), rel=1e-5)
    assert metrics["loss"] == pytest.approx(
        (0.3 * error - advantages - 0.2 * forward.entropy)[mask].mean().item(), rel=1e-5
    )
    assert metrics["kl"] == 0
    assert metrics["kl_weight"] == 0.1
    assert {"clip_fraction", "approx_kl", "grad_norm", "lr"} < set(metrics)


@pytest.mark.parametrize("options", [{}, {"minibatches": 3}, {"adam": Adam(lr=0.0, microbatch=4)}])
def test_weights_that_stand_still_never_drift(options: dict) -> None:
    policy = FakePolicy()
    optimiser = prepared(policy, **{"adam": Adam(lr=0.0), **options})
    for _ in range(2):
        metrics = optimiser.step(policy, credited(optimiser, sampled(policy)))
        assert metrics["clip_fraction"] == 0
        assert abs(metrics["approx_kl"]) < 1e-12
        assert metrics["kl"] == 0


class Company(FakePolicy):
    """Its log-probs depend on how many answers share a pass, as rounding does."""

    def forward(self, rollouts, **how):
        said = super().forward(rollouts, **how)
        return replace(said, logp=(said.logp + len(rollouts) / 10).where(rollouts.mask, 0.0))


@pytest.mark.parametrize("microbatch", [None, 3])
def test_in_half_precision_the_ratio_is_1_whatever_is_trained_together(microbatch: int | None) -> None:
    policy = Company()
    policy.module.bfloat16()
    optimiser = prepared(policy, minibatches=3, adam=Adam(lr=0.0, microbatch=microbatch))
    metrics = optimiser.step(policy, credited(optimiser, sampled(policy, group=4)))
    assert metrics["approx_kl"] == metrics["clip_fraction"] == 0


def test_the_samplers_rounding_is_no_drift_of_fresh_rollouts() -> None:
    policy = FakePolicy()
    optimiser, rollouts = prepared(policy, epochs=1), sampled(policy)
    rounded = replace(rollouts, logp=rollouts.logp.bfloat16().float())
    assert optimiser.step(policy, credited(optimiser, rounded))["approx_kl"] == pytest.approx(0, abs=1e-12)


def test_in_half_precision_a_policy_that_is_its_reference_pays_exactly_nothing(tmp_path: Path) -> None:
    policy = TransformersPolicy(checkpoint(tmp_path / "model"), device="cpu", dtype="bfloat16")
    penalty = prepared(policy).sources()["kl"]
    for width in range(8, 41):  # at 10 a column more or less decides whether the prompt is read once
        answers = [["x" * width, "y" * width]]
        rollouts = policy.sampler(seed=0, step=1, group=2).recorded([Prompt(id="a", text="no")], answers)
        assert not penalty.score(rollouts).tokens.any()


def test_learning_leaves_dropout_as_off_as_it_was_while_sampling() -> None:
    policy = FakePolicy()
    policy.module.head = torch.nn.Sequential(torch.nn.Dropout(0.5), policy.module.head)
    policy.module.eval()
    optimiser = prepared(policy, adam=Adam(lr=0.0, microbatch=2))
    metrics = optimiser.step(policy, credited(optimiser, sampled(policy)))
    assert abs(metrics["approx_kl"]) < 1e-12
    policy.module.train()  # the test can fail: so it looks when somebody turns dropout on
    assert optimiser.step(policy, credited(optimiser, sampled(policy)))["approx_kl"] > 1e-3


@pytest.mark.parametrize("microbatch", [1, 2, 4])
def test_microbatches_leave_the_gradient_as_it_is(microbatch: int) -> None:
    found = []
    for size in (None, microbatch):
        policy = FakePolicy()
        policy.module.double()
        optimiser = prepared(policy, epochs=1, adam=replace(STILL, microbatch=size), entropy=0.1)
        optimiser._head.double()
        experience = credited(optimiser, sampled(policy), whiten=False)
        experience = replace(experience, counted=torch.tensor([True, False, True, True, True, True]))
        found += gradients(optimiser, policy, experience)
    torch.testing.assert_close(found[0], found[1], atol=1e-14, rtol=1e-12)


def test_minibatches_hold_whole_groups_and_every_answer_once_an_epoch() -> None:
    policy = FakePolicy()
    optimiser = prepared(policy, epochs=2, minibatches=3)
    experience = credited(optimiser, sampled(policy, group=4))
    shuffled = experience.take([0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11])
    seen = []
    inner = optimiser._learn

    def look(policy, batch, old, values):
        seen.append(batch.rollouts.group.tolist())
        torch.testing.assert_close(old, batch.rollouts.logp, atol=1e-6, rtol=0)  # each row with its own
        return inner(policy, batch, old, values)

    optimiser._learn = look
    optimiser.step(policy, shuffled)
    assert seen == [[0] * 4, [1] * 4, [2] * 4] * 2
    assert policy.version == 6


def test_the_value_loss_is_clipped_around_the_values_before_the_step() -> None:
    losses, moved = [], None
    for epochs in (1, 2):
        policy = FakePolicy()
        optimiser = prepared(policy, epochs=epochs, value=1.0)
        experience = credited(optimiser, sampled(policy))
        mask, returns = experience.mask, experience.returns["reward"]
        losses.append(optimiser.step(policy, experience)["value_loss"] * epochs)
        moved = optimiser.critic().values(experience.rollouts) if moved is None else moved
    assert moved.abs().max() > 0.2
    near = moved.clamp(-0.2, 0.2)  # the head began at 0
    worse = torch.maximum((moved - returns).square(), (near - returns).square()) / 2
    assert losses[1] - losses[0] == pytest.approx(worse[mask].mean().item(), rel=1e-4)


def test_each_row_of_a_minibatch_has_its_own_old_values() -> None:
    policy = FakePolicy()
    optimiser = prepared(policy, epochs=1, minibatches=3)
    with torch.no_grad():
        optimiser._head.weight.copy_(torch.randn(8))
    experience = credited(optimiser, sampled(policy)).take([4, 0, 2, 1, 5, 3])
    values = optimiser.critic().values(experience.rollouts)
    seen = []
    optimiser._learn = lambda policy, batch, old, values: seen.append(values) or {"kl": 0.0}
    optimiser.step(policy, experience)
    assert torch.equal(torch.cat(seen), values[[0, 4, 1, 3, 2, 5]])


def test_more_minibatches_than_groups_are_refused() -> None:
    policy = FakePolicy()
    optimiser = prepared(policy, minibatches=4)
    with pytest.raises(DataError, match=r"a batch of 3 groups cannot be shared out 4 ways; .*minibatches"):
        optimiser.step(policy, credited(optimiser, sampled(policy)))
    assert policy.version == 0


def test_a_minibatch_of_which_nothing_counts_is_passed_over() -> None:
    policy = FakePolicy()
    optimiser = prepared(policy, epochs=1, minibatches=3)
    experience = credited(optimiser, sampled(policy))
    assert len(gradients(optimiser, policy, experience)) == 3
    silent = replace(experience, counted=torch.tensor([True, True, False, False, True, False]))
    assert len(gradients(optimiser, policy, silent)) == 2
    with pytest.raises(TrainingError, match="every answer was left out"):
        optimiser.step(policy, replace(experience, counted=torch.zeros(6, dtype=torch.bool)))


def test_stale_rollouts_are_clipped_against_the_policy_that_sampled() -> None:
    policy = FakePolicy()
    optimiser = prepared(policy, epochs=1, adam=Adam(lr=0.3))
    first, *_, last = credited(optimiser, sampled(policy)).split(3)
    assert optimiser.step(policy, first)["approx_kl"] == 0
    drift = (policy.logprobs(last.rollouts).detach() - last.rollouts.logp)[last.mask]
    assert optimiser.step(policy, last)["approx_kl"] == pytest.approx((drift.exp() - 1 - drift).mean().item(), rel=1e-4)
    assert drift.abs().max() > 0.05


def test_the_kl_weight_is_steered_towards_its_target() -> None:
    policy = FakePolicy()
    optimiser = prepared(policy, kl=0.1, kl_target=0.5, kl_horizon=60, epochs=1, adam=Adam(lr=0.3))
    weight = 0.1
    for step in range(4):
        metrics = optimiser.step(policy, credited(optimiser, sampled(policy, step)))
        assert metrics["kl_weight"] == pytest.approx(weight)
        weight *= 1 + min(max(metrics["kl"] / 0.5 - 1, -0.2), 0.2) * 6 / 60
        assert optimiser.weights() == {"kl": pytest.approx(weight)}
    resumed = prepared(FakePolicy(), kl=0.1, kl_target=0.5)
    resumed.load_state_dict(optimiser.state_dict())
    assert resumed.weights() == optimiser.weights()


@pytest.mark.parametrize(
    ("options", "weight"),
    [
        ({"kl": 0.1, "kl_target": 0.5}, 0.07),  # the controller goes on
        ({"kl": 0.5, "kl_target": 0.5}, 0.5),  # it starts again from what was given anew
        ({"kl": 0.1}, 0.1),
        ({"kl": 0.5}, 0.5),
    ],
)
def test_a_resumed_kl_weight_is_the_controllers_unless_it_was_given_anew(options: dict, weight: float) -> None:
    optimiser = prepared(FakePolicy(), kl=0.1, kl_target=0.5)
    optimiser.kl = 0.07
    resumed = prepared(FakePolicy(), **options)
    resumed.load_state_dict(optimiser.state_dict())
    assert resumed.weights() == {"kl": weight}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"kl": -0.1}, "kl is -0.1"),
        ({"kl": math.inf}, "kl is inf"),
        ({"kl": 0.0, "kl_target": 6.0}, "kl_target needs a kl above 0"),
        ({"kl_target": 0.0}, "kl_target needs"),
        ({"kl_horizon": 0}, "kl_horizon is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"minibatches": 0}, "minibatches is 0"),
        ({"low": 0.0}, "low is 0.0 and high 0.2"),
        ({"value_clip": 0.0}, "value_clip is 0.0"),
        ({"aggregation": "constant"}, "length is None, but aggregation 'constant' needs one"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"optimiser 'ppo': {complaint}"):
        Ppo(**options)
