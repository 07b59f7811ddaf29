from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from exact import Listed, every_answer, gradients, rollouts_of, table_policy
from rlaif_builtins.optimisers.dpo import Dpo, pairs_of
from rlaif_builtins.optimisers.update import Adam
from rlaif_core import Abstain, ConfigError, Experience, TrainingError
from rlaif_core.testing import FakePolicy, check_optimiser, make_experience, make_feedback, make_rollouts

STILL = Adam(lr=0.1, clip=0)

# Two pairs, the preferred answers first: of four, two, five and three tokens.
LOGP = [[-1.2, -0.3, -2.1, -0.7, 0], [-0.4, -1.9, 0, 0, 0], [-0.9, -0.2, -1.4, -3.0, -0.6], [-2.2, -0.8, -0.1, 0, 0]]
REFERENCE = [[-1.1, -0.8, -1.5, -0.7, 0], [-0.6, -1.3, 0, 0, 0], [-0.7, -0.6, -1.9, -2, -0.5], [-2, -1.1, -0.4, 0, 0]]
MASK = torch.tensor([[0 < place <= length for place in range(6)] for length in (4, 2, 5, 3)])


def tokens(rows: list[list[float]]) -> torch.Tensor:
    """[4,6] f64, with a column for the prompt in front."""
    return torch.nn.functional.pad(torch.tensor(rows, dtype=torch.float64), (1, 0))


def prepared(policy, **options) -> Dpo:
    optimiser = Dpo(**{"adam": STILL, **options})
    optimiser.prepare(policy, 10)
    return optimiser


def listed(**options):
    policy = Listed(tokens(LOGP), tokens(REFERENCE))
    rollouts = policy.rollouts(tokens(LOGP), MASK, group=[0, 1, 0, 1])
    return policy, prepared(policy, **options), scored(rollouts, [1.0, 1.0, 0.0, 0.0])


def scored(rollouts, scores) -> Experience:
    return make_experience(rollouts, make_feedback(rollouts, {"it": scores}))


@pytest.mark.parametrize("options", [{}, {"loss": "ipo", "pairs": "all"}, {"per_token": True, "smoothing": 0.1}])
def test_keeps_the_contract(options: dict) -> None:
    check_optimiser(lambda: Dpo(**options, adam=Adam(lr=0.05)))
    check_optimiser(lambda: Dpo(**options, adam=Adam(lr=0.05, microbatch=3)))


# What TRL 1.16.0 makes of the two pairs, from its own code: `DPOTrainer._compute_loss`, called on a trainer made with
# `__new__`, whose model and reference return LOGP (an f64 leaf) and REFERENCE as their log-probs, with beta = 0.3. Its
# "ipo" and "sigmoid_norm" take the mean over an answer's tokens. By TRL's loss type: the loss, the norm of its gradient
# over the answers' tokens, the gradient of the first token of each answer.
TRL = {
    "sigmoid": (0.7419635399, 0.287885177, [-0.07275067, -0.08395705, 0.07275067, 0.08395705]),
    "ipo": (3.3393388889, 2.1304314899, [-0.40916667, -1.0, 0.32733333, 0.66666667]),
    "sigmoid_norm": (0.7165269828, 0.0876132363, [-0.01866563, -0.03937344, 0.0149325, 0.02624896]),
}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("sigmoid", {"loss": "sigmoid"}),
        ("ipo", {"loss": "ipo", "per_token": True}),
        ("sigmoid_norm", {"loss": "sigmoid", "per_token": True}),
    ],
)
def test_loss_and_gradient_are_those_of_trl(theirs: str, ours: dict) -> None:
    policy, optimiser, experience = listed(beta=0.3, **ours)
    (found,) = gradients(optimiser, policy, experience)
    loss, norm, first = TRL[theirs]
    assert found.norm().item() == pytest.approx(norm, rel=1e-7)
    assert found.reshape(4, 6)[:, 1].tolist() == pytest.approx(first, abs=1e-8)
    metrics = optimiser.step(policy, experience)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-7)
    assert metrics["logp/chosen"] == pytest.approx(-3.3)
    assert metrics["accuracy"] == 0.5
    if theirs == "sigmoid":
        assert metrics["margin"] == pytest.approx(-0.09)


def test_ipo_of_sums_by_hand() -> None:
    policy, optimiser, experience = listed(beta=0.3, loss="ipo")
    ratio = (tokens(LOGP) - tokens(REFERENCE)).sum(1)
    expected = ((ratio[:2] - ratio[2:] - 1 / 0.6) ** 2).mean().item()
    assert optimiser.step(policy, experience)["loss"] == pytest.approx(expected)


def test_metrics_by_hand() -> None:
    policy, optimiser, experience = listed(beta=0.3)
    metrics = optimiser.step(policy, experience)
    logp = tokens(LOGP)[MASK]
    assert metrics["entropy"] == pytest.approx((-logp * logp.exp()).mean().item())
    assert metrics["logp/rejected"] == pytest.approx((-6.1 - 3.1) / 2)
    assert metrics["pairs"] == 2
    assert metrics["lr"] == 0.1


@pytest.mark.parametrize("pairs", ["best_worst", "all"])
def test_no_kl_is_estimated_on_answers_that_need_not_be_the_policys_own(pairs: str) -> None:
    policy, optimiser, experience = listed(pairs=pairs)
    assert "kl" not in optimiser.step(policy, experience)


def test_a_policy_that_is_its_reference_has_loss_log_2_and_no_margin() -> None:
    policy = FakePolicy()
    optimiser, rollouts = prepared(policy, beta=0.7), make_rollouts()
    metrics = optimiser.step(policy, scored(rollouts, [1.0, 0.0, 0.0, 1.0]))
    assert metrics["loss"] == pytest.approx(math.log(2), abs=1e-7)
    assert metrics["margin"] == metrics["accuracy"] == 0
    assert metrics["grad_norm"] > 0


def test_equal_answers_cannot_be_told_apart_and_break_nothing() -> None:
    policy = FakePolicy()
    optimiser = prepared(policy)
    with torch.no_grad():
        policy.module.head.bias[2] += 1
    twice = scored(make_rollouts([("yes please", "yes please")]), [1.0, 0.0])
    (found,) = gradients(optimiser, policy, twice)
    assert found.abs().max() < 1e-7
    assert optimiser.step(policy, twice)["loss"] == pytest.approx(math.log(2), abs=1e-7)


def test_the_prompts_tokens_take_no_part() -> None:
    """What the policy says of the prompt changes nothing, and nothing of it is learnt."""
    losses = []
    for prompt in (0.0, -9.0):
        logp = tokens(LOGP)
        logp[:, 0] = prompt
        policy = Listed(logp, tokens(REFERENCE))
        optimiser = prepared(policy, beta=0.3)
        experience = scored(policy.rollouts(tokens(LOGP), MASK, group=[0, 1, 0, 1]), [1.0, 1.0, 0.0, 0.0])
        (found,) = gradients(optimiser, policy, experience)
        assert not found.reshape(4, 6)[~MASK].any()
        losses.append(optimiser.step(policy, experience)["loss"])
    assert losses[0] == losses[1] == pytest.approx(TRL["sigmoid"][0])


@pytest.mark.parametrize("options", [{}, {"per_token": True}, {"loss": "ipo"}])
@pytest.mark.parametrize("microbatch", [1, 2, 3, 4, 6])
def test_microbatches_of_whole_pairs_leave_gradient_and_metrics_as_they_are(microbatch: int, options: dict) -> None:
    found, metrics = [], []
    for size in (None, microbatch):
        policy, optimiser, experience = listed(pairs="all", adam=replace(STILL, microbatch=size), **options)
        one_group = replace(experience.rollouts, group=torch.zeros(4, dtype=torch.int64))
        experience = scored(one_group, [0.3, 0.1, 0.9, 0.5])
        found += gradients(optimiser, policy, experience)
        metrics.append(optimiser.step(policy, experience))
    assert metrics[0]["pairs"] == 6
    torch.testing.assert_close(found[0], found[1], atol=1e-14, rtol=1e-12)
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-12)


@pytest.mark.parametrize(("microbatch", "rows"), [(None, [12]), (1, [2] * 6), (5, [4] * 3), (8, [8, 4])])
def test_no_more_answers_are_looked_at_at_once_than_asked_but_whole_pairs(microbatch, rows: list[int]) -> None:
    policy, seen = FakePolicy(), []
    optimiser = prepared(policy, pairs="all", adam=Adam(lr=0.1, microbatch=microbatch))
    inner, reference = policy.forward, policy.reference_logprobs
    policy.forward = lambda its, **options: seen.append(len(its)) or inner(its, **options)
    policy.reference_logprobs = lambda its: seen.append(len(its)) or reference(its)
    optimiser.step(policy, scored(make_rollouts([("yes", "no", "maybe", "please")]), [1.0, 0.3, 0.5, 0.0]))
    assert seen == 2 * rows


def test_learning_reaches_the_policy_that_the_labels_speak_of() -> None:
    """Labels are as often wrong as two rewards make them: then the optimum is reference * exp(reward / beta) / Z."""
    policy, wrong, beta = table_policy(), 0.3, 0.5
    good = torch.arange(15) % 2
    optimiser = Dpo(beta=beta, smoothing=wrong, pairs="all", adam=Adam(lr=0.1, schedule="cosine"))
    optimiser.prepare(policy, 150)
    rollouts = rollouts_of(policy, every_answer())
    for _ in range(150):
        metrics = optimiser.step(policy, scored(rollouts, good.tolist()))
    assert metrics["pairs"] == 7 * 8
    with torch.no_grad():
        logp, reference = policy.logprobs(rollouts).sum(1), policy.reference_logprobs(rollouts).sum(1)
    reward = math.log((1 - wrong) / wrong) * good
    torch.testing.assert_close(logp, (reference + reward / beta).log_softmax(0), atol=1e-2, rtol=0)


def test_ipo_reaches_its_margin() -> None:
    policy = table_policy()
    optimiser = Dpo(beta=0.25, loss="ipo", adam=Adam(lr=0.05, schedule="cosine"))
    optimiser.prepare(policy, 200)
    experience = scored(rollouts_of(policy, every_answer()[3:5]), [0.0, 1.0])
    for _ in range(200):
        metrics = optimiser.step(policy, experience)
    assert metrics["margin"] == pytest.approx(0.25 * 1 / (2 * 0.25), abs=1e-3)
    assert metrics["loss"] == pytest.approx(0, abs=1e-4)


GROUPS = make_rollouts([("yes", "no", "maybe"), ("red", "blue"), "one"])


@pytest.mark.parametrize(
    ("scores", "kind", "expected"),
    [
        ([0.5, 0.1, 0.9, 1.0, 0.0, 5.0], "best_worst", [(2, 1), (3, 4)]),
        ([0.5, 0.1, 0.9, 1.0, 0.0, 5.0], "all", [(2, 0), (2, 1), (0, 1), (3, 4)]),
        ([0.5, 0.5, 0.5, 1.0, 1.0, 5.0], "best_worst", []),
        ([0.5, 0.5, 0.5, 1.0, 1.0, 5.0], "all", []),
        ([0.5, 0.5, 0.1, 0.0, 0.0, 5.0], "all", [(0, 2), (1, 2)]),
        ([0.5, 0.5, 0.1, 0.0, 0.0, 5.0], "best_worst", [(0, 2)]),
        ([0.5, Abstain("?"), 0.1, 1.0, Abstain("?"), 5.0], "all", [(0, 2)]),
        ([Abstain("?")] * 6, "best_worst", []),
    ],
)
def test_pairs_of_each_group(scores: list, kind: str, expected: list) -> None:
    assert pairs_of(scored(GROUPS, scores), kind) == expected


def test_answers_that_the_credit_left_out_or_without_a_token_are_in_no_pair() -> None:
    experience = scored(GROUPS, [0.5, 0.1, 0.9, 1.0, 0.0, 5.0])
    cut_off = replace(experience, counted=torch.tensor([True, True, False, True, True, True]))
    assert pairs_of(cut_off, "best_worst") == [(0, 1), (3, 4)]
    mask = GROUPS.mask.clone()
    mask[1] = False
    silent = replace(GROUPS, mask=mask, logp=GROUPS.logp.where(mask, 0.0))
    assert pairs_of(scored(silent, [0.5, 0.1, 0.9, 1.0, 0.0, 5.0]), "best_worst") == [(2, 0), (3, 4)]


def test_a_small_difference_beside_a_large_score_makes_a_pair() -> None:
    rollouts = make_rollouts([("yes", "no")])
    feedback = make_feedback(rollouts, {"judge": [1e9, 1e9], "style": [0.01, 0.02]})
    assert pairs_of(make_experience(rollouts, feedback), "best_worst") == [(1, 0)]


def test_sums_that_differ_by_rounding_alone_are_a_tie() -> None:
    rollouts = make_rollouts([("yes", "no")])
    feedback = make_feedback(rollouts, {"a": [0.1, 0.3], "b": [0.2, 0.0]})
    assert pairs_of(make_experience(rollouts, feedback), "best_worst") == []


def test_rows_of_a_group_may_stand_anywhere_under_any_label() -> None:
    mixed = replace(GROUPS.take([0, 3, 1, 4, 2, 5]), group=torch.tensor([7, -1, 7, -1, 7, 40]))
    assert pairs_of(scored(mixed, [0.5, 0.1, 0.9, 1.0, 0.0, 5.0]), "best_worst") == [(2, 4), (3, 1)]


def test_ties_alone_move_nothing_and_count_as_a_step() -> None:
    policy = FakePolicy()
    optimiser = prepared(policy, adam=Adam(lr=0.1, schedule="linear"))
    tied = scored(make_rollouts(), [1.0, 1.0, 0.0, 0.0])
    assert [optimiser.step(policy, tied) for _ in range(2)] == [
        {"pairs": 0.0, "lr": 0.1},
        {"pairs": 0.0, "lr": pytest.approx(0.09)},
    ]
    assert policy.version == 0


def test_one_answer_to_each_prompt_is_no_pair() -> None:
    policy = FakePolicy()
    with pytest.raises(
        TrainingError, match=r"two answers to a prompt at least: raise \[prompts\] group, or replay pairs"
    ):
        prepared(policy).step(policy, make_experience(make_rollouts(["yes", "no"])))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"beta": 0.0}, "beta is 0.0"),
        ({"beta": math.inf}, "beta is inf"),
        ({"smoothing": 0.5}, "smoothing is 0.5"),
        ({"smoothing": -0.1}, "smoothing is -0.1"),
        ({"loss": "ipo", "smoothing": 0.1}, "smoothing belongs to loss 'sigmoid'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict, complaint: str) -> None:
    with pytest.raises(ConfigError, match=f"optimiser 'dpo': {complaint}"):
        Dpo(**options)
