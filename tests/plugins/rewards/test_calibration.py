from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import Abstain, ConfigError, Failed, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.calibration import Calibration
from rlaif_rewards.correctness import Correctness


def told(source: Calibration, answer: str, reference: object = "Paris"):
    (outcome,) = source.score(make_rollouts([answer], meta={"reference": reference}))
    return outcome


def value(source: Calibration, answer: str) -> float:
    outcome = told(source, answer)
    assert isinstance(outcome, Score)
    assert outcome.reason
    return outcome.value


def test_keeps_the_contract() -> None:
    check_reward(Calibration(), meta={"reference": "yes"})


@pytest.mark.parametrize(
    ("answer", "due"),
    [
        ("Paris <confidence>1</confidence>", 1.0),
        ("Paris <confidence>0.6</confidence>", 1 - 0.16),
        ("Rome <confidence>0.6</confidence>", -0.36),
        ("Rome <confidence>0</confidence>", 0.0),
        ("<confidence>100 %</confidence> Rome", -1.0),
    ],
)
def test_correctness_less_the_square_of_the_error(answer: str, due: float) -> None:
    assert value(Calibration(), answer) == pytest.approx(due)


def test_the_spherical_score() -> None:
    spherical = Calibration(rule="spherical")
    assert value(spherical, "Paris <confidence>0.6</confidence>") == pytest.approx(0.6 / math.hypot(0.6, 0.4))
    assert value(spherical, "Rome <confidence>0.6</confidence>") == pytest.approx(0.4 / math.hypot(0.6, 0.4) - 1)


@pytest.mark.parametrize(
    "answer",
    [
        "Paris",
        "",
        "Paris <confidence>nan</confidence>",
        "Paris <confidence>70</confidence>",
        "Paris <confidence>-1</confidence>",
        "Paris <confidence>inf</confidence>",
        "Paris <confidence>1</confidence><confidence>0</confidence>",
    ],
)
def test_what_states_no_confidence_gets_what_is_least(answer: str) -> None:
    assert value(Calibration(), answer) == -1.0
    assert value(Calibration(missing=-0.5), answer) == -0.5


@given(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from(["Paris", "Rome"]))
def test_whatever_number_is_stated_the_value_is_finite_and_in_range(stated: float, answer: str) -> None:
    assert -1 <= value(Calibration(), f"{answer} <confidence>{stated}</confidence>") <= 1


def test_confidence_in_words() -> None:
    source = Calibration(words={"surely": 0.9, "maybe": 0.5})
    assert value(source, "surely Paris") == pytest.approx(1 - 0.01)
    assert value(source, "Maybe Rome") == pytest.approx(-0.25)
    assert value(source, "Paris") == -1


def test_numbers_are_compared_without_the_confidence() -> None:
    source = Calibration(Correctness(correct="number"))
    assert told(source, "#### 72 <confidence>0.5</confidence>", "#### 72").value == pytest.approx(0.75)
    assert told(source, "it is 72 <confidence>0.5</confidence>", "#### 72").value == pytest.approx(0.75)


def test_each_prompt_has_its_own_reference() -> None:
    """Where RLCR's own code lets the first row's source decide for the batch."""
    from rlaif_core import Prompt

    prompts = [
        Prompt(id="a", text="?", meta={"reference": "Paris"}),
        Prompt(id="b", text="?", meta={"reference": "Rome"}),
    ]
    answer = "Rome <confidence>1</confidence>"
    outcomes = Calibration().score(make_rollouts([answer, answer], prompts=prompts))
    assert [outcome.value for outcome in outcomes] == [-1.0, 1.0]


def test_no_opinion_on_correctness_is_none_on_calibration(judging) -> None:
    assert isinstance(told(Calibration(), "a <confidence>1</confidence>", None), Abstain)
    source = Calibration(Correctness(correct="judge"), judge=judging(lambda question: Failed("outage", 0.1)))
    assert told(source, "a <confidence>1</confidence>") == Failed("outage", 0.1)
    assert told(source, "a") == Score(-1.0, told(source, "a").reason)  # nobody has to be asked about that


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"rule": "log"}, "the log score has no lower bound"),
        ({"rule": "brer"}, "say 'brier' or 'spherical'"),
        ({"weight": 1.5}, "at most 1"),
        ({"weight": 0.0}, "above 0"),
        ({"missing": 0.1}, "leaving the confidence out would pay"),
        ({"words": {"maybe": 2}}, "a number from 0 to 1"),
    ],
)
def test_options_that_make_no_sense(options, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Calibration(**options)


def test_the_best_confidence_is_the_accuracy_by_enumeration() -> None:
    """Of ten answers k are right: no stated confidence earns more over them than k/10."""
    for right in range(11):
        answers = ["Paris"] * right + ["Rome"] * (10 - right)
        total = {
            q: sum(value(Calibration(), f"{answer} <confidence>{q / 10}</confidence>") for answer in answers)
            for q in range(11)
        }
        assert max(total, key=total.__getitem__) == right
        assert total[right] / 10 == pytest.approx((right / 10) ** 2)
