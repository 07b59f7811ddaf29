from __future__ import annotations

import pytest

from rlaif_core import Abstain, ConfigError, DataError, Failed, Prompt, Score
from rlaif_rewards.correctness import Correctness


def checked(correctness: Correctness, answer: str, reference=None, judge=None):
    prompt = Prompt(id="p", text="?", meta={"reference": reference})
    (outcome,) = correctness.checker(judge, (-1, 1))([(prompt, answer)])
    return outcome


@pytest.mark.parametrize(
    ("options", "answer", "reference", "value"),
    [
        ({}, "the Paris.", "Paris", 1),
        ({}, "Rome", ["Paris", "rome"], 1),
        ({}, "London", ["Paris", "rome"], 0),
        ({}, "It is Paris", "Paris", 0),
        ({}, "", "Paris", 0),
        ({}, "5", 5, 1),
        ({"take": "tag"}, "so <answer>Paris</answer>", "Paris", 1),
        ({"take": "tag"}, "Paris", "Paris", 0),
        ({"correct": "number"}, "It is 8 * 9 = 72 in all.", "some steps\n#### 72", 1),
        ({"correct": "number"}, "#### 71", "#### 72", 0),
        ({"correct": "number"}, "none", "#### 72", 0),
        ({"correct": "number"}, "nan", "#### 72", 0),
    ],
)
def test_against_a_reference(options, answer: str, reference, value: int) -> None:
    outcome = checked(Correctness(**options), answer, reference)
    assert isinstance(outcome, Score)
    assert outcome.value == value
    assert outcome.reason


@pytest.mark.parametrize(("correct", "reference"), [("match", None), ("match", []), ("match", " "), ("number", "none")])
def test_without_a_reference_there_is_no_opinion(correct: str, reference) -> None:
    assert isinstance(checked(Correctness(correct=correct), "Paris", reference), Abstain)


def test_a_missing_column_is_an_error() -> None:
    with pytest.raises(DataError, match="has no column 'answer'"):
        checked(Correctness(reference="answer"), "Paris")


def test_a_judge_decides_and_sees_the_reference(judging) -> None:
    judge = judging(lambda question: 0.6)
    assert checked(Correctness(correct="judge"), "Paris", "Paris", judge) == Score(1.0, "said so")
    assert checked(Correctness(correct="judge", correct_from=0.7), "Paris", "Paris", judge) == Score(0.0, "said so")
    assert {question.reference for question in judge.asked} == {"Paris"}
    assert isinstance(checked(Correctness(correct="judge"), "a", None, judging(lambda q: Failed("outage"))), Failed)
    with pytest.raises(ConfigError, match="needs a judge"):
        checked(Correctness(correct="judge"), "Paris")


def test_a_function_decides(written) -> None:
    decide = Correctness(correct=written("def f(prompt, answer):\n    return answer.endswith(prompt.text)"))
    assert checked(decide, "what?") == Score(1.0)
    assert checked(decide, "what") == Score(0.0)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"correct": "matches"}, "did you mean 'match'"),
        ({"correct_from": 0}, "must be above 0"),
        ({"take": "tags"}, "take is"),
    ],
)
def test_options_that_make_no_sense(options, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Correctness(**options).checker(None, (0, 1))
