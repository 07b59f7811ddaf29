from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import Abstain, ConfigError, DataError, Failed, Outcome, Question, Score, Verdict
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.preference import PreferenceReward


class ByLength:
    """Prefers the longer answer, by as much as `said` gives; remembers the pairs."""

    def __init__(self, odd: dict[str, Outcome] | None = None) -> None:
        self.pairs: list[tuple[str, ...]] = []
        self.odd = odd or {}

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        verdicts = []
        for question in questions:
            assert question.form == "compare"
            self.pairs.append(question.answers)
            one, other = question.answers
            value = (len(one) > len(other)) - (len(one) < len(other))
            strange = self.odd.get(one) or self.odd.get(other)
            verdicts.append(Verdict(outcomes=(strange, strange) if strange else (Score(value), Score(-value))))
        return verdicts


def texts(count: int) -> list[str]:
    return ["x" * length for length in range(1, count + 1)]


def test_the_contract_holds_apart_from_company() -> None:
    check_reward(PreferenceReward(ByLength()), pointwise=False)


@given(st.integers(2, 9))
def test_each_meets_each_other_once(count: int) -> None:
    judge = ByLength()
    outcomes = PreferenceReward(judge).score(make_rollouts([texts(count)]))
    assert len(judge.pairs) == len({frozenset(pair) for pair in judge.pairs}) == count * (count - 1) // 2
    wins = [(2 * place - (count - 1)) / (count - 1) for place in range(count)]
    assert [outcome.value for outcome in outcomes] == pytest.approx(wins)
    assert sum(outcome.value for outcome in outcomes) == pytest.approx(0)


@given(st.integers(2, 9), st.integers(1, 8))
def test_with_fewer_opponents_all_meet_as_many(count: int, opponents: int) -> None:
    judge = ByLength()
    PreferenceReward(judge, opponents=opponents).score(make_rollouts([texts(count)]))
    met = [sum(text in pair for pair in judge.pairs) for text in texts(count)]
    assert len(set(met)) == 1
    assert min(opponents, count - 1) <= met[0] <= min(opponents + 1, count - 1)
    assert len({frozenset(pair) for pair in judge.pairs}) == len(judge.pairs)


def test_only_siblings_meet() -> None:
    judge = ByLength()
    PreferenceReward(judge).score(make_rollouts([("a", "bb"), ("ccc", "dddd", "eeeee")]))
    assert {frozenset(map(len, pair)) for pair in judge.pairs} == {
        frozenset(pair) for pair in ((1, 2), (3, 4), (4, 5), (3, 5))
    }


def test_a_single_answer_meets_nobody() -> None:
    (outcome,) = PreferenceReward(ByLength()).score(make_rollouts(["alone"]))
    assert outcome == Abstain("no comparison counts: there is no other answer to compare it with")


def test_a_failed_comparison_fails_both_and_an_abstention_is_left_out() -> None:
    outcomes = PreferenceReward(ByLength({"xxx": Failed("down")})).score(make_rollouts([texts(3)]))
    assert [type(outcome) for outcome in outcomes] == [Failed, Failed, Failed]
    outcomes = PreferenceReward(ByLength({"xxx": Abstain("unsure")})).score(make_rollouts([texts(3)]))
    assert outcomes[:2] == [Score(-1.0, ""), Score(1.0, "")]
    assert outcomes[2] == Abstain("no comparison counts: unsure")


def test_answers_may_be_compared_with_one_of_the_dataset() -> None:
    judge = ByLength()
    rollouts = make_rollouts([("x", "xxxxx")], meta={"baseline": "xxx"})
    outcomes = PreferenceReward(judge, against="baseline").score(rollouts)
    assert [outcome.value for outcome in outcomes] == [-1, 1]
    assert judge.pairs == [("x", "xxx"), ("xxxxx", "xxx")]
    with pytest.raises(DataError, match="column 'gold' holds no answer to compare with; columns: baseline"):
        PreferenceReward(judge, against="gold").score(rollouts)


def test_options_that_exclude_one_another_are_refused() -> None:
    with pytest.raises(ConfigError, match="opponents are siblings"):
        PreferenceReward(ByLength(), opponents=2, against="baseline")
