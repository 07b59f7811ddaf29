from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from exact import Listed, every_answer, rollouts_of, table_policy
from rlaif_builtins.credits.gae import Gae
from rlaif_builtins.credits.leave_one_out import LeaveOneOut
from rlaif_builtins.credits.terminal import Terminal
from rlaif_builtins.optimisers.grpo import Grpo
from rlaif_builtins.optimisers.ppo import Ppo
from rlaif_builtins.optimisers.reference import NAME, KlPenalty, measured_kl
from rlaif_builtins.optimisers.reinforce import Reinforce
from rlaif_core import Abstain, Failed, Feedback, Score, TrainingError
from rlaif_core.protocols import NoCritic
from rlaif_core.testing import FakePolicy, check_reward, make_experience, make_feedback, make_rollouts

LOGP = torch.tensor([[0.0, -1.0, -0.5], [0.0, -2.0, 0.0]])
REFERENCE = torch.tensor([[0.0, -1.5, -0.25], [0.0, -1.0, 0.0]])
MASK = torch.tensor([[False, True, True], [False, True, False]])


def kept(policy):
    policy.keep_reference()
    return policy


def test_keeps_the_contract_of_a_reward_source() -> None:
    check_reward(KlPenalty(kept(FakePolicy()), None))
    check_reward(KlPenalty(kept(FakePolicy()), 1))


def test_tokens_and_their_sum_by_hand() -> None:
    policy = Listed(LOGP, REFERENCE)
    said = KlPenalty(policy, None).score(policy.rollouts(LOGP, MASK))
    assert said.tokens.tolist() == [[0, -0.5, 0.25], [0, 1.0, 0]]
    assert [outcome.value for outcome in said.outcomes] == [-0.25, 1.0]
    assert [outcome.reason for outcome in said.outcomes] == [
        "0.25 nats above the reference",
        "1.00 nats below the reference",
    ]


def test_a_policy_that_has_not_moved_pays_exactly_nothing() -> None:
    policy = kept(FakePolicy())
    said = KlPenalty(policy, None).score(make_rollouts())
    assert not said.tokens.any()
    assert [outcome.value for outcome in said.outcomes] == [0.0] * 4


def test_the_samplers_rounding_is_no_distance_to_the_reference() -> None:
    rollouts = make_rollouts()
    rounded = replace(rollouts, logp=rollouts.logp.bfloat16().float())
    assert not torch.equal(rounded.logp, rollouts.logp)
    policy = kept(FakePolicy())
    for penalty in (KlPenalty(policy, None), KlPenalty(policy, 1, lambda its: policy.logprobs(its).detach())):
        torch.testing.assert_close(penalty.score(rounded).tokens, torch.zeros_like(rollouts.logp), atol=1e-6, rtol=0)
    assert not KlPenalty(policy, 3).score(rounded).tokens.any()


def test_the_mean_penalty_is_the_kl_of_whole_answers() -> None:
    policy = table_policy()
    rollouts = rollouts_of(policy, every_answer())
    chance = rollouts.logp.sum(1).exp()
    assert chance.sum().item() == pytest.approx(1, abs=1e-6)
    exact = (chance * (rollouts.logp - policy.reference_logprobs(rollouts)).sum(1)).sum().item()
    assert exact > 0.1
    tokens = KlPenalty(policy, 4).score(rollouts).tokens
    assert -(chance * tokens.sum(1)).sum().item() == pytest.approx(exact, abs=1e-6)
    each = [
        measured_kl(make_experience(one, make_feedback(one, {"it": [0.0], NAME: KlPenalty(policy, None).score(one)})))
        for one in (rollouts.take([row]) for row in range(len(rollouts)))
    ]
    assert sum(p * kl["kl"] for p, kl in zip(chance.tolist(), each, strict=True)) == pytest.approx(exact, abs=1e-6)


def test_the_measured_kl_by_hand() -> None:
    policy = Listed(LOGP, REFERENCE)
    rollouts = policy.rollouts(LOGP, MASK)
    feedback = make_feedback(rollouts, {"it": [0.0, 1.0], NAME: KlPenalty(policy, None).score(rollouts)})
    rows = [math.exp(-0.5) - 0.5 + math.exp(0.25) - 1.25, math.e - 2]
    assert measured_kl(make_experience(rollouts, feedback)) == {"kl": pytest.approx(sum(rows) / 2)}
    assert measured_kl(make_experience(rollouts)) == {}


@pytest.mark.parametrize("silence", [Abstain("cannot tell"), Failed("outage")])
@pytest.mark.parametrize("credit", [LeaveOneOut(), Terminal()])
def test_the_penalty_is_no_opinion_of_an_answer_that_nobody_scored(silence, credit) -> None:
    rollouts = make_rollouts([("yes", "no", "maybe"), ("red", "blue")])
    penalty = KlPenalty(kept(FakePolicy(seed=1)), None).score(rollouts)
    said = (Score(1), silence, Score(0), silence, silence)

    def credited(**more):
        outcomes = {"it": said, **{name: tuple(scored.outcomes) for name, scored in more.items()}}
        tokens = {name: scored.tokens for name, scored in more.items()}
        feedback = Feedback(
            outcomes=outcomes, token_scores=tokens, weights=dict.fromkeys(more, 0.0), contributed=frozenset(more)
        )
        return credit.assign(rollouts, feedback, NoCritic())

    without, with_penalty = credited(), credited(**{NAME: penalty})
    assert with_penalty.counted.tolist() == [True, False, True, False, False]
    assert torch.equal(with_penalty.counted, without.counted)
    torch.testing.assert_close(with_penalty.advantages["reward"], without.advantages["reward"])


@pytest.mark.parametrize("build", [Grpo, Reinforce, Ppo])
def test_recorded_answers_are_no_sample_of_the_policy_and_have_no_kl(build) -> None:
    for recorded in (False, True):
        policy, optimiser = FakePolicy(), build()
        optimiser.prepare(policy, 1)
        rollouts = replace(make_rollouts(), recorded=recorded)
        brought = {name: source.score(rollouts) for name, source in optimiser.sources().items()}
        feedback = make_feedback(rollouts, {"it": [1.0, 0.0, 0.5, 2.0], **brought}, contributed=set(brought))
        credit = Gae() if build is Ppo else Terminal()
        experience = credit.assign(rollouts, feedback, optimiser.critic())
        assert ("kl" in optimiser.step(policy, experience)) is not recorded


def test_a_target_for_the_kl_needs_answers_of_the_policy() -> None:
    policy, optimiser = FakePolicy(), Ppo(kl_target=1.0)
    optimiser.prepare(policy, 1)
    experience = make_experience(replace(make_rollouts(), recorded=True))
    with pytest.raises(TrainingError, match="kl_target steers the KL of the policy's own answers"):
        optimiser.step(policy, experience)
