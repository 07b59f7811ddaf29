from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import Abstain, ConfigError, DataError, Failed, Prompt, Score, Verdict
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.correctness import Correctness
from rlaif_rewards.ignorance import Ignorance, wrong_value
from rlaif_rewards.instruments import Detection

RIGHT, ADMITS, WRONG = "Paris", "I do not know.", "Rome"


def values(source: Ignorance, *answers: str, **meta) -> list[float]:
    prompt = Prompt(id="p", text="?", meta={"reference": "Paris", **meta})
    outcomes = source.score(make_rollouts([answers], prompts=[prompt]))
    assert all(isinstance(outcome, Score) and outcome.reason for outcome in outcomes)
    return [outcome.value for outcome in outcomes]


def test_keeps_the_contract() -> None:
    check_reward(Ignorance(), meta={"reference": "yes"})
    check_reward(Ignorance(answerable="known"), meta={"reference": "yes", "known": False})


def test_right_above_not_knowing_above_wrong() -> None:
    assert values(Ignorance(), RIGHT, ADMITS, WRONG) == [1, 0, -1]
    assert values(Ignorance(threshold=0.75), RIGHT, ADMITS, WRONG) == pytest.approx([1, 0, -3])


@given(st.floats(0.01, 0.99))
def test_to_answer_breaks_even_where_accuracy_is_the_threshold(threshold: float) -> None:
    def expected(p: float) -> float:
        return p + (1 - p) * wrong_value(threshold)

    assert expected(threshold) == pytest.approx(0, abs=1e-9)
    assert expected(min(threshold + 0.005, 1)) > 0 > expected(threshold - 0.005)


def test_over_abstention_lowers_the_break_even_as_stated() -> None:
    threshold, over = 0.8, 0.5
    right, admits, wrong = values(Ignorance(threshold=threshold, over=over), RIGHT, ADMITS, WRONG)
    p = threshold - over * (1 - threshold)
    assert p * right + (1 - p) * wrong == pytest.approx(admits)


def test_an_admission_with_a_claim_is_a_claim() -> None:
    assert values(Ignorance(), "I do not know, but it is Rome.", "I don't know. Rome") == [-1, -1]


def test_what_cannot_be_answered() -> None:
    unanswerable = Ignorance(answerable="known", over=0.2)
    assert values(unanswerable, RIGHT, ADMITS, known=False) == [-1, 1]
    assert values(unanswerable, RIGHT, ADMITS, known=True) == [1, -0.2]
    assert values(unanswerable, RIGHT, ADMITS, known=None) == [1, -0.2]
    with pytest.raises(DataError, match="must be true or false"):
        values(unanswerable, RIGHT, known="no")


def test_reasons_tell_how_the_group_fared() -> None:
    prompt = Prompt(id="p", text="?", meta={"reference": "Paris"})
    outcomes = Ignorance().score(make_rollouts([(RIGHT, ADMITS, WRONG, WRONG)], prompts=[prompt]))
    assert {outcome.reason.partition("; of ")[2] for outcome in outcomes} == {"4: 1 correct, 1 abstains, 2 wrong"}


def test_patterns_can_be_added() -> None:
    assert values(Ignorance(), "Ask my colleague.") == [-1]
    assert values(Ignorance(detection=Detection(patterns=(r"\bask my colleague\b",))), "Ask my colleague.") == [0]


def test_a_judge_may_tell_both(judging) -> None:
    def said(question) -> float:
        about_abstention = "does not know" in question.rubric
        return float((question.answers[0] == "pass") if about_abstention else question.answers[0] == "Paris")

    source = Ignorance(Correctness(correct="judge"), Detection(detect="judge"), judge=judging(said))
    assert values(source, "Paris", "pass", "Rome") == [1, 0, -1]


def test_failures_are_no_numbers(judging) -> None:
    prompts = [Prompt(id="p", text="?", meta={"reference": None})]
    rollouts = make_rollouts([(RIGHT, ADMITS)], prompts=prompts)
    assert [type(outcome) for outcome in Ignorance().score(rollouts)] == [Abstain, Score]
    broken = judging(lambda question: Failed("outage"))
    assert [type(o) for o in Ignorance(Correctness(correct="judge"), judge=broken).score(rollouts)] == [Failed, Score]
    detecting = Ignorance(detection=Detection(detect="judge"), judge=broken)
    assert [type(outcome) for outcome in detecting.score(rollouts)] == [Failed, Failed]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"threshold": 0}, "must be between 0 and 1"),
        ({"threshold": 1}, "must be between 0 and 1"),
        ({"over": 1.0}, "must not cost as much as to be wrong"),
        ({"over": -0.1}, "at least 0"),
    ],
)
def test_options_that_make_no_sense(options, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Ignorance(**options)


@pytest.mark.slow
def test_in_lumen_it_pays_to_answer_exactly_what_is_known_well_enough(lumen, written, lumen_key: str) -> None:
    """Over ten answers to each question: answering earns more than abstaining where more than the threshold are right.
    Measured: at thresholds of 0.5, 0.75 and 0.9, of what is then answered 86, 91 and 100 % is right; of all, 37 %."""
    file = lumen_key[: lumen_key.rindex(":")]
    admits = written(
        f"import importlib.util\nspec = importlib.util.spec_from_file_location('keys', {file!r})\n"
        "keys = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(keys)\n"
        "def admits(prompt, answer):\n    return keys.key(answer) is None"
    )
    answers = zip(lumen.rollouts.prompts, lumen.rollouts.completions, strict=True)
    right = {(prompt.id, text): label == "correct" for (prompt, text), label in zip(answers, lumen.labels, strict=True)}

    class Labels:
        def ask(self, questions):
            said = [right[question.prompt.id, question.answers[0]] for question in questions]
            return [Verdict(outcomes=(Score(2.0 * its - 1),)) for its in said]

    precision = []
    for threshold in (0.5, 0.75, 0.9):
        source = Ignorance(Correctness(correct="judge"), Detection(detect=admits), threshold, judge=Labels())
        outcomes = source.score(lumen.rollouts)
        answered: list[bool] = []
        for start in range(0, len(outcomes), 10):
            claims = [row for row in range(start, start + 10) if lumen.labels[row] != "ignorance"]
            known = [lumen.labels[row] == "correct" for row in claims]
            pays = sum(outcomes[row].value for row in claims) > 1e-9
            assert pays == (sum(known) > threshold * len(known))
            answered += known if pays else []
        precision.append(sum(answered) / len(answered))
    assert precision == sorted(precision)
    assert precision[0] > 0.8
    assert precision[-1] > 0.9
