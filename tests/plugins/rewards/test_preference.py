from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import Abstain, ConfigError, DataError, Failed, Outcome, Question, Score, Verdict
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.asking import Standards
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


class ByRubric:
    """Prefers the longer answer, or with rubric "short" the shorter one; abstains on "silent"."""

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        return [Verdict(outcomes=(self.said(its, 0), self.said(its, 1))) for its in questions]

    def said(self, question: Question, place: int) -> Outcome:
        if question.rubric == "silent":
            return Abstain("unsure", 0.5)
        longer = len(question.answers[place]) > len(question.answers[1 - place])
        return Score(1 if longer == (question.rubric != "short") else -1, "so", 0.5)


def rubric(folder: Path, *criteria: tuple[str, str]) -> Standards:
    file = folder / "rubric.md"
    file.write_text("\n".join(f"## {text}{more}\n{text}" for text, more in criteria), encoding="utf-8")
    return Standards(rubric=str(file))


def test_criteria_count_by_their_weights(tmp_path: Path) -> None:
    standards = rubric(tmp_path, ("long", " (weight 3)"), ("short", ""))
    outcomes = PreferenceReward(ByRubric(), standards=standards).score(make_rollouts([("x", "xxx")]))
    assert [outcome.value for outcome in outcomes] == [-0.5, 0.5]


def test_a_comparison_that_lacks_a_criterion_does_not_count(tmp_path: Path) -> None:
    """A mean over fewer criteria could not be compared with others."""
    standards = rubric(tmp_path, ("long", ""), ("silent", ""))
    outcomes = PreferenceReward(ByRubric(), standards=standards).score(make_rollouts([("x", "xxx")]))
    assert [type(outcome) for outcome in outcomes] == [Abstain, Abstain]
    assert "silent: unsure" in outcomes[0].reason


@pytest.mark.parametrize("text", ["long", "silent"])
def test_all_that_comparisons_cost_is_told(tmp_path: Path, text: str) -> None:
    """Also what the answer of the dataset cost, which has no outcome of its own."""
    standards = rubric(tmp_path, ("long", ""), (text, "")) if text != "long" else rubric(tmp_path, ("long", ""))
    rollouts = make_rollouts([("x", "xxxxx")], meta={"baseline": "xxx"})
    outcomes = PreferenceReward(ByRubric(), against="baseline", standards=standards).score(rollouts)
    each = 1.0 if text == "long" else 2.0
    assert [outcome.cost for outcome in outcomes] == [each, each]
    siblings = PreferenceReward(ByRubric(), standards=standards).score(rollouts)
    assert sum(outcome.cost for outcome in siblings) == each
