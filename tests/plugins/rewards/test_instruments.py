from __future__ import annotations

import math

import pytest

from rlaif_core import Abstain, ConfigError, DataError, Failed, Prompt, Score
from rlaif_core.errors import FeedbackError
from rlaif_rewards.instruments import (
    Detection,
    by_function,
    by_judge,
    by_label,
    column,
    label_of,
    premise,
    texts,
    who,
    without,
)
from rlaif_rewards.scorer import load_scorer

ASKED = Prompt(id="p", text="is it red", meta={"reference": ["yes", "no"], "empty": None, "count": 3})


def test_a_judge_is_asked_by_the_rubric_and_read_on_its_scale(judging) -> None:
    judge = judging(lambda question: 4, plainly=True)
    opinions = by_judge(judge, "Is it so?", (1, 5), reference="reference")
    assert opinions([(ASKED, "yes")]) == [Score(0.75, "said so")]
    (question,) = judge.asked
    assert (question.rubric, question.answers, question.reference) == ("Is it so?", ("yes",), "yes")
    assert by_judge(judge, "?")([]) == []


@pytest.mark.parametrize("said", [0.9, 5.1, 7])
def test_a_score_beyond_the_scale_has_failed(judging, said: float) -> None:
    (outcome,) = by_judge(judging(lambda question: said, plainly=True), "?", (1, 5))([(ASKED, "yes")])
    assert isinstance(outcome, Failed)
    assert "outside of its scale 1 to 5; set scale" in outcome.reason


def test_rounding_at_the_ends_is_forgiven(judging) -> None:
    assert by_judge(judging(lambda question: 1 + 1e-9), "?")([(ASKED, "yes")]) == [Score(1.0, "said so")]


@pytest.mark.parametrize("outcome", [Abstain("unsure", 0.1), Failed("outage", 0.2)])
def test_no_opinion_of_a_judge_stays_none(judging, outcome) -> None:
    assert by_judge(judging(lambda question: outcome), "?")([(ASKED, "yes")]) == [outcome]


@pytest.mark.parametrize("scale", [(1, 1), (5, 1), (0, math.nan)])
def test_a_scale_has_two_ends(judging, scale: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="lowest score, then its highest"):
        by_judge(judging(lambda question: 1), "?", scale)


def test_functions(written) -> None:
    asked = [(ASKED, "yes"), (ASKED, "no")]
    assert by_function(written("def f(prompt, answer):\n    return answer in prompt.meta['reference'][0]"))(asked) == [
        Score(1.0),
        Score(0.0),
    ]
    (outcome, _) = by_function(written("def f(prompt, answer):\n    return 2"))(asked)
    assert isinstance(outcome, Failed)
    (outcome, _) = by_function(written("def f(prompt, answer):\n    return None"))(asked)
    assert isinstance(outcome, Abstain)
    with pytest.raises(FeedbackError):
        by_function(written("def f(prompt, answer):\n    return float('nan')"))(asked)


def test_labels_of_classifiers(classifier) -> None:
    folder = classifier("bert", labels=("calm", "rude"))
    scorer = load_scorer(folder, device="cpu")
    (outcome,) = by_label(scorer, "rude", folder)([(ASKED, "yes")])
    assert isinstance(outcome, Score)
    assert outcome.value == pytest.approx(scorer.probabilities([("", "yes")])[0][1])
    with pytest.raises(ConfigError, match="has several labels; choose one with label"):
        label_of(scorer, "", folder)
    with pytest.raises(ConfigError, match="has no label 'rud'"):
        label_of(scorer, "rud", folder)
    assert label_of(load_scorer(classifier("bert", labels=("spam",)), device="cpu"), "", "it") == 0


def test_a_classifier_that_computes_nan_has_failed() -> None:
    class Broken:
        def __init__(self) -> None:
            self.labels = ["a"]

        def probabilities(self, pairs):
            return [[math.nan] for _ in pairs]

    assert isinstance(by_label(Broken(), "a", "it")([(ASKED, "yes")])[0], Failed)


def test_who_an_option_names() -> None:
    assert [who(its) for its in ("judge", "file.py:f", "module:f", "folder/of/model")] == [
        "judge",
        "function",
        "function",
        "model",
    ]


def test_detection_by_anybody(judging, written, classifier) -> None:
    def found(detection: Detection, judge=None) -> float:
        return detected(detection, "yes", judge)

    def detected(detection: Detection, answer: str, judge=None) -> float:
        def rules(text: str, extra: tuple[str, ...]) -> bool:
            return text == "yes" or text in extra

        (outcome,) = detection.opinions(rules, "?", judge, (0, 1))([(ASKED, answer)])
        assert isinstance(outcome, Score)
        return outcome.value

    assert found(Detection()) == 1.0
    assert detected(Detection(patterns=("no",)), "no") == 1.0
    assert detected(Detection(), "no") == 0.0
    assert found(Detection(detect="judge"), judging(lambda question: 0.25, plainly=True)) == 0.25
    assert found(Detection(detect=written("def f(prompt, answer):\n    return False"))) == 0.0
    assert 0 < found(Detection(detect=classifier("bert"), label="good")) < 1
    with pytest.raises(ConfigError, match="detect = 'judge' needs a judge"):
        found(Detection(detect="judge"))
    with pytest.raises(ConfigError, match="patterns are for detect = 'patterns'"):
        Detection(detect="judge", patterns=("x",))
    with pytest.raises(ConfigError, match="is not a pattern"):
        Detection(patterns=("(",))


def test_what_is_missing() -> None:
    assert without([Score(1), Score(0)]) is None
    assert without([Score(1, cost=1), Abstain("a", 2), Failed("f", 3)]) == Failed("f", 6)
    assert without([Score(1, cost=1), Abstain("a", 2)]) == Abstain("a", 3)


def test_columns() -> None:
    assert column(ASKED, "count") == 3
    with pytest.raises(DataError, match="prompt 'p' has no column 'answer'"):
        column(ASKED, "answer")
    assert texts(["yes", " ", None, 3], "it") == ("yes", "3")
    assert texts("yes", "it") == ("yes",)
    assert texts(None, "it") == ()
    for wrong in ({"a": 1}, [["yes"]]):
        with pytest.raises(DataError, match="it must be a text, or a list of texts"):
            texts(wrong, "it")


def test_anything_can_be_a_premise() -> None:
    assert premise("").text == " "
    assert premise("a\ud800b").text == "a\ufffdb"
