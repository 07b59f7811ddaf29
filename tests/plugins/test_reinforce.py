from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch

from exact import Listed, every_answer, experienced, gradients, rollouts_of, table_policy
from rlaif_builtins.credits.leave_one_out import LeaveOneOut
from rlaif_builtins.credits.terminal import Terminal
from rlaif_builtins.optimisers.reinforce import Reinforce
from rlaif_builtins.optimisers.update import Adam
from rlaif_core import ConfigError, Experience, TrainingError
from rlaif_core.feedback import Feedback
from rlaif_core.testing import FakePolicy, check_optimiser, make_feedback, make_rollouts

REWARDS = [math.sin(3 * number) for number in range(15)]
KL = 0.3
STILL = Adam(lr=0.1, clip=0)


@pytest.mark.parametrize("microbatch", [None, 3])
def test_keeps_the_contract(microbatch: int | None) -> None:
    check_optimiser(lambda: Reinforce(adam=Adam(lr=0.05, microbatch=microbatch)))
    check_optimiser(lambda: Reinforce(aggregation="constant", length=6, entropy=0.1, adam=Adam(lr=0.05)))


def objective(policy) -> torch.Tensor:
    """Expected reward less KL times its weight, over all 15 answers: what the policy gradient is the gradient of."""
    rollouts = rollouts_of(policy, every_answer())
    logp = policy.logprobs(rollouts).sum(1)
    reference = policy.reference_logprobs(rollouts).sum(1)
    return (logp.exp() * (torch.tensor(REWARDS) - KL * (logp - reference))).sum()


def scored(optimiser, rollouts, rewards) -> Feedback:
    brought = {name: source.score(rollouts) for name, source in optimiser.sources().items()}
    feedback = make_feedback(rollouts, {"it": rewards, **brought}, weights=optimiser.weights())
    return replace(feedback, contributed=frozenset(brought))


def in_expectation(experience: Experience, chance: torch.Tensor) -> Experience:
    """Each answer of n in the batch counts n times its chance, so that the batch's mean is the exact expectation."""
    weight = (len(chance) * chance)[:, None].float()
    return replace(experience, advantages={"reward": experience.advantages["reward"] * weight})


def every_group_of_two(policy, optimiser, credit) -> Experience:
    """All 225 pairs of answers, each as a group, weighed by its chance."""
    pairs = list(itertools.product(range(15), repeat=2))
    rows = [row for pair in pairs for row in pair]
    answers = every_answer()
    rollouts = rollouts_of(policy, [answers[row] for row in rows], [place // 2 for place in range(len(rows))])
    feedback = scored(optimiser, rollouts, [REWARDS[row] for row in rows])
    alone = rollouts.logp.sum(1).exp()
    chance = (alone[0::2] * alone[1::2]).repeat_interleave(2) / 2
    return in_expectation(credit.assign(rollouts, feedback, optimiser.critic()), chance)


def every_answer_once(policy, optimiser, credit) -> Experience:
    rollouts = rollouts_of(policy, every_answer())
    feedback = scored(optimiser, rollouts, REWARDS)
    return in_expectation(credit.assign(rollouts, feedback, optimiser.critic()), rollouts.logp.sum(1).exp())


def prepared(policy, **options) -> Reinforce:
    optimiser = Reinforce(**{"kl": KL, "adam": STILL, **options})
    optimiser.prepare(policy, 1)
    return optimiser


@pytest.mark.parametrize(
    ("credit", "batch"),
    [
        (LeaveOneOut(), every_group_of_two),
        (Terminal(), every_answer_once),
        (Terminal(baseline="mean"), every_answer_once),
    ],
)
def test_in_expectation_the_step_is_the_exact_policy_gradient(credit, batch) -> None:
    policy = table_policy()
    exact = torch.autograd.grad(objective(policy), policy.module.logits)[0].flatten()
    optimiser = prepared(policy)
    (found,) = gradients(optimiser, policy, batch(policy, optimiser, credit))
    assert exact.norm() > 0.1
    torch.testing.assert_close(-found, exact, atol=2e-6, rtol=0)


def test_a_reward_on_a_token_is_no_merit_of_the_tokens_after_it() -> None:
    """With the reward of each token where it stands, the gradient is the same in expectation."""
    policy = table_policy()
    optimiser = prepared(policy)
    experience = every_answer_once(policy, optimiser, Terminal())
    spread = experience.advantages["reward"]
    assert (spread[:, 1] != spread[:, 2]).any()  # the KL of the first token is not charged to the second
    (found,) = gradients(optimiser, policy, experience)
    whole = torch.tensor(REWARDS) + KL * experience.feedback.token_scores["kl"].sum(1)
    rollouts = experience.rollouts
    charged = in_expectation(experienced(rollouts, whole, feedback=experience.feedback), rollouts.logp.sum(1).exp())
    (same,) = gradients(optimiser, policy, charged)
    torch.testing.assert_close(found, same, atol=2e-6, rtol=0)


def best(policy) -> torch.Tensor:
    """[15] the policy that maximises the objective: reference * exp(reward / KL weight) / Z."""
    rollouts = rollouts_of(policy, every_answer())
    return (policy.reference_logprobs(rollouts).sum(1) + torch.tensor(REWARDS) / KL).softmax(0)


def set_to(policy, chances: torch.Tensor) -> None:
    """Give the table the conditional probabilities of a distribution over all answers."""
    rollouts = rollouts_of(policy, every_answer())
    mass = torch.zeros_like(policy.module.logits)
    base = 4 ** torch.arange(rollouts.tokens.shape[1])
    prefix = ((rollouts.tokens + 1) * rollouts.attend * base).cumsum(1)
    for row, place in rollouts.mask.nonzero().tolist():
        mass[prefix[row, place - 1], rollouts.tokens[row, place]] += chances[row]
    with torch.no_grad():
        policy.module.logits.copy_(mass.clamp(min=1e-300).log())


def test_the_optimum_under_the_kl_is_a_fixed_point_of_the_step() -> None:
    policy = table_policy()
    optimiser, optimum = prepared(policy), best(policy)
    set_to(policy, optimum)
    torch.testing.assert_close(rollouts_of(policy, every_answer()).logp.sum(1).exp().double(), optimum)
    for credit, batch in ((LeaveOneOut(), every_group_of_two), (Terminal(), every_answer_once)):
        (found,) = gradients(optimiser, policy, batch(policy, optimiser, credit))
        assert found.norm() < 2e-6


def test_steps_lead_to_the_optimum_under_the_kl() -> None:
    policy = table_policy()
    optimiser = Reinforce(kl=KL, adam=Adam(lr=0.1, schedule="cosine"))
    optimiser.prepare(policy, 400)
    for _ in range(400):
        optimiser.step(policy, every_answer_once(policy, optimiser, Terminal(baseline="mean")))
    reached = rollouts_of(policy, every_answer()).logp.sum(1).exp().double()
    torch.testing.assert_close(reached, best(policy), atol=1e-3, rtol=0)


def test_without_reward_and_kl_nothing_moves() -> None:
    policy = table_policy()
    optimiser = prepared(policy, kl=0.0, adam=Adam(lr=0.1))
    before = policy.module.logits.detach().clone()
    rollouts = rollouts_of(policy, every_answer())
    for _ in range(3):
        metrics = optimiser.step(policy, experienced(rollouts, torch.zeros(15)))
    assert torch.equal(policy.module.logits, before)
    assert metrics["grad_norm"] == 0


# Three answers of three, two and one tokens under a policy that is a table of log-probs.
LOGP = torch.tensor([[0, -1.0, -0.5, -0.25], [0, -2.0, -0.7, 0], [0, -0.1, 0, 0]], dtype=torch.float64)
OLD = torch.tensor([[0, -1.5, -0.5, -0.75], [0, -1.0, -0.9, 0], [0, -0.1, 0, 0]], dtype=torch.float64)
MASK = torch.tensor([[False, True, True, True], [False, True, True, False], [False, True, False, False]])
ADVANTAGES = torch.tensor([2.0, -1.0, 0.5])


def listed(**options) -> tuple[Listed, Reinforce]:
    policy = Listed(LOGP.clone(), torch.zeros_like(LOGP))
    return policy, prepared(policy, **options)


def test_fresh_rollouts_are_learnt_from_as_they_are() -> None:
    policy, optimiser = listed()
    fresh = replace(policy.rollouts(OLD, MASK), policy_version=policy.version)
    (found,) = gradients(optimiser, policy, experienced(fresh, ADVANTAGES))
    expected = -(ADVANTAGES[:, None] * MASK) / 3
    torch.testing.assert_close(found.reshape(3, 4), expected.double())


def test_stale_rollouts_are_corrected_by_the_ratio_of_each_token() -> None:
    policy, optimiser = listed()
    (found,) = gradients(optimiser, policy, experienced(policy.rollouts(OLD, MASK), ADVANTAGES))
    expected = -(ADVANTAGES[:, None] * MASK) * (LOGP - OLD).exp() / 3
    torch.testing.assert_close(found.reshape(3, 4), expected.double(), atol=1e-6, rtol=1e-6)


def test_a_second_update_of_one_batch_is_corrected() -> None:
    """As with [run] updates = 2: the second share was drawn by the weights before the first update."""
    policy = FakePolicy()
    optimiser = Reinforce(kl=0.0, adam=Adam(lr=0.5, clip=0))
    optimiser.prepare(policy, 2)
    rollouts = policy.sampler(seed=1, step=1, group=2).recorded(
        make_rollouts().prompts[::2], [("yes please", "no"), ("red", "it is blue")]
    )
    shares = experienced(rollouts, torch.tensor([1.0, -1.0, 1.0, -1.0])).split(2)
    optimiser.step(policy, shares[0])
    ratio = (policy.logprobs(shares[1].rollouts).detach() - shares[1].rollouts.logp).exp()
    assert (ratio - 1).abs().max() > 0.1
    (found,) = gradients(optimiser, policy, shares[1])
    loss = -(policy.logprobs(shares[1].rollouts) * ratio * shares[1].advantages["reward"]).sum() / 2
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(policy.module.parameters()))])
    torch.testing.assert_close(found, expected.double(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"aggregation": "token_mean"}, {"aggregation": "constant", "length": 7}])
@pytest.mark.parametrize("microbatch", [1, 2])
def test_microbatches_leave_the_gradient_as_it_is(microbatch: int, options: dict) -> None:
    found = []
    for size in (None, microbatch):
        policy, optimiser = listed(**options, entropy=0.2, adam=replace(STILL, microbatch=size))
        experience = replace(
            experienced(policy.rollouts(OLD, MASK), ADVANTAGES), counted=torch.tensor([True, False, True])
        )
        found += gradients(optimiser, policy, experience)
    torch.testing.assert_close(found[0], found[1], atol=1e-15, rtol=1e-13)
    assert not found[0].reshape(3, 4)[1].any()


def test_the_entropy_bonus_raises_the_entropy_of_every_token() -> None:
    policy, optimiser = listed(kl=0.0, entropy=0.5)
    fresh = replace(policy.rollouts(OLD, MASK), policy_version=policy.version)
    (found,) = gradients(optimiser, policy, experienced(fresh, torch.zeros(3)))
    slope = -(LOGP + 1) * LOGP.exp()  # of -p log p, which `Listed` takes for the entropy
    torch.testing.assert_close(found.reshape(3, 4), -0.5 * slope * MASK / 3)


def test_metrics_by_hand() -> None:
    policy, optimiser = listed(kl=0.1)
    rollouts = policy.rollouts(OLD, MASK)
    experience = experienced(rollouts, ADVANTAGES, feedback=scored(optimiser, rollouts, [1.0, 2.0, 3.0]))
    gradient = gradients(optimiser, policy, experience)[0]
    metrics = optimiser.step(policy, experience)
    entropy = (-LOGP * LOGP.exp())[MASK].mean().item()
    kl = (LOGP.neg().exp() - 1 + LOGP)[MASK]  # k3 against log-probs of 0
    assert dict(metrics) == {
        "loss": pytest.approx(-((LOGP - OLD).exp() * ADVANTAGES[:, None])[MASK].sum().item() / 3, rel=1e-6),
        "grad_norm": pytest.approx(gradient.norm().item()),
        "entropy": pytest.approx(entropy),
        "kl": pytest.approx(kl.sum().item() / 3, rel=1e-6),
        "lr": 0.1,
    }


def test_a_batch_of_which_nothing_counts_is_refused() -> None:
    policy, optimiser = listed()
    nothing = replace(experienced(policy.rollouts(OLD, MASK), ADVANTAGES), counted=torch.zeros(3, dtype=torch.bool))
    with pytest.raises(TrainingError, match="every answer was left out"):
        optimiser.step(policy, nothing)
    assert policy.version == 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"kl": -0.1}, "kl is -0.1"),
        ({"kl": math.inf}, "kl is inf"),
        ({"aggregation": "constant"}, "length is None, but aggregation 'constant' needs one"),
        ({"length": 5}, "length is 5, but aggregation 'sequence_sum' has none"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"optimiser 'reinforce': {complaint}"):
        Reinforce(**options)
