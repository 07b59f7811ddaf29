from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from rlaif_core import Abstain, ConfigError, Failed, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.groups import last_turn_logp
from rlaif_rewards.likeness import Likeness
from rlaif_rewards.semantic_entropy import SemanticEntropy, distinct_masses

ANSWERS = st.lists(st.sampled_from("abcd"), min_size=2, max_size=7)


def values(source: SemanticEntropy, *groups) -> list[float]:
    outcomes = source.score(make_rollouts(groups))
    assert all(isinstance(outcome, Score) and outcome.reason for outcome in outcomes)
    return [outcome.value for outcome in outcomes]


def test_keeps_the_contract() -> None:
    check_reward(SemanticEntropy(), pointwise=False)
    check_reward(SemanticEntropy(weights="length", each="group"), pointwise=False)


def test_one_meaning_is_1_and_k_meanings_are_0() -> None:
    for each in ("group", "answer"):
        assert values(SemanticEntropy(each=each), ("a", "a", "a"), ("b", "c", "d")) == pytest.approx([1, 1, 1, 0, 0, 0])


def test_the_formula() -> None:
    shares = (3 / 4, 1 / 4)
    expected = 1 + sum(share * math.log(share) for share in shares) / math.log(4)
    assert values(SemanticEntropy(each="group"), ("a", "a", "b", "A.")) == pytest.approx([expected] * 4)
    most, one = (1 + math.log(share) / math.log(4) for share in shares)
    assert values(SemanticEntropy(), ("a", "a", "b", "A.")) == pytest.approx([most, most, one, most])


@given(ANSWERS)
def test_given_to_answers_its_mean_is_that_of_the_group(answers: list[str]) -> None:
    by_answer, by_group = values(SemanticEntropy(), answers), values(SemanticEntropy(each="group"), answers)
    assert sum(by_answer) / len(answers) == pytest.approx(by_group[0], abs=1e-9)
    assert all(0 <= value <= 1 for value in by_answer + by_group)
    assert (by_group[0] == 1) == (len(set(answers)) == 1)


@given(ANSWERS, st.randoms(use_true_random=False))
def test_the_order_of_answers_does_not_matter(answers: list[str], random) -> None:
    shuffled = random.sample(answers, len(answers))
    for source in (SemanticEntropy(), SemanticEntropy(each="group", weights="raw")):
        told = dict(zip(answers, values(source, answers), strict=True))
        assert values(source, shuffled) == pytest.approx([told[answer] for answer in shuffled], abs=1e-6)


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=2, max_size=6))
def test_meanings_vary_at_most_as_texts_do(answers: list[str]) -> None:
    merged = ["a" if answer == "b" else answer for answer in answers]
    assert values(SemanticEntropy(each="group"), merged)[0] >= values(SemanticEntropy(each="group"), answers)[0] - 1e-12


def test_probabilities_weigh_and_a_text_drawn_twice_counts_once() -> None:
    rollouts = make_rollouts([("yes", "yes", "no it is")])
    for weights, mean in (("raw", False), ("length", True)):
        (yes, _, no) = last_turn_logp(rollouts, mean=mean)
        share = 1 / (1 + math.exp(no - yes))
        expected = 1 + (share * math.log(share) + (1 - share) * math.log(1 - share)) / math.log(3)
        outcome = SemanticEntropy(weights=weights, each="group").score(rollouts)[0]
        assert isinstance(outcome, Score)
        assert outcome.value == pytest.approx(expected, abs=1e-5)


def test_probabilities_of_long_answers_do_not_vanish() -> None:
    assert distinct_masses(["a", "b", "a"], [0, 1, 0], [-3000.0, -3000.0, -3001.0]) == pytest.approx({0: 0.5, 1: 0.5})


def test_admissions_are_a_meaning_of_their_own_and_not_rewarded() -> None:
    assert values(SemanticEntropy(), ("I don't know.", "I do not know!", "I'm not sure.")) == [0, 0, 0]
    mixed = values(SemanticEntropy(abstention=0.3), ("I don't know.", "a", "a", "b"))
    assert mixed == pytest.approx([0.3, 0.5, 0.5, 0.0])


def test_one_answer_for_everybody_earns_nothing() -> None:
    for each in ("answer", "group"):
        assert values(SemanticEntropy(each=each), ("yes", "yes"), ("yes", "yes")) == [0.0] * 4
        assert values(SemanticEntropy(each=each, diversity=0.0), ("yes", "yes"), ("yes", "yes")) == [1.0] * 4
    assert values(SemanticEntropy(), ("yes", "yes"), ("yes", "no"), ("red", "red")) == [0.5, 0.5, 0.0, 0.0, 1.0, 1.0]


def test_without_siblings_or_chance_there_is_no_opinion() -> None:
    assert isinstance(SemanticEntropy().score(make_rollouts(["a"]))[0], Abstain)
    rollouts = make_rollouts([("a", "a")])
    greedy = replace(rollouts, logp=torch.zeros_like(rollouts.logp))
    assert all(isinstance(outcome, Abstain) for outcome in SemanticEntropy().score(greedy))


def test_failures_are_no_numbers(judging) -> None:
    likeness = Likeness(alike="entailment", entailment="judge")
    source = SemanticEntropy(likeness, judge=judging(lambda question: Failed("outage")))
    assert [type(outcome) for outcome in source.score(make_rollouts([("a", "b"), ("c", "c")]))] == [
        Failed,
        Failed,
        Score,
        Score,
    ]


def test_the_price_is_shared(judging) -> None:
    likeness = Likeness(alike="entailment", entailment="judge")
    source = SemanticEntropy(likeness, judge=judging(lambda question: Score(1.0, cost=1.0)))
    assert [outcome.cost for outcome in source.score(make_rollouts([("a", "b")]))] == [2.0, 2.0]


def test_diversity_is_a_share() -> None:
    with pytest.raises(ConfigError, match="diversity is 2"):
        SemanticEntropy(diversity=2.0)


def test_weights_give_no_value_to_single_answers() -> None:
    with pytest.raises(ConfigError, match="set each = 'group'"):
        SemanticEntropy(weights="raw")


@pytest.mark.slow
def test_in_lumen_it_tells_what_is_not_known_but_not_what_is_wrongly_believed(lumen, lumen_key: str) -> None:
    """Measured: AUROC of "wrong" 0.81 on rare and unseen facts, where the answer's own log-prob has 0.74; on myths,
    where the answers agree and are wrong, 0.38."""
    source = SemanticEntropy(Likeness(alike=lumen_key), each="group")
    certain = [outcome.value if isinstance(outcome, Score) else math.nan for outcome in source.score(lumen.rollouts)]
    logp = last_turn_logp(lumen.rollouts, mean=False)

    def auroc(sure: list[float], *exposures: str) -> float:
        rows = lumen.claims(*exposures)
        return float(roc_auc_score([lumen.labels[row] != "correct" for row in rows], [-sure[row] for row in rows]))

    assert auroc(certain, "rare", "unseen") >= 0.8
    assert auroc(certain, "rare", "unseen") >= auroc(logp, "rare", "unseen") + 0.05
    assert auroc(certain, "common", "rare", "unseen") >= 0.9
    assert auroc(certain, "myth") <= 0.6
