from __future__ import annotations

import pytest

from rlaif_core import Abstain, ConfigError, Failed
from rlaif_rewards.entailment import CONTRADICTS, Relation, missing, nli_labels, relating
from rlaif_rewards.scorer import load_scorer

PAIRS = [("it is red", "it is red"), ("it is red", "it is blue"), ("it is red", "it is")]


def test_a_checkpoint_is_read_by_the_names_of_its_labels(classifier) -> None:
    folder = classifier("bert", labels=("CONTRADICTION", "entailment", "neutral"), framed=True)
    rows = load_scorer(folder, framing="pair", device="cpu").probabilities(PAIRS)
    told = relating(folder)(PAIRS)
    assert [its.entailment for its in told] == pytest.approx([row[1] for row in rows], abs=1e-6)
    assert [its.contradiction for its in told] == pytest.approx([row[0] for row in rows], abs=1e-6)


@pytest.mark.parametrize(
    "labels",
    [("LABEL_0", "LABEL_1", "LABEL_2"), ("entailment", "not_entailment"), ("entailment", "neutral", "other"), ("a",)],
)
def test_labels_without_these_names_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="name them so in id2label"):
        nli_labels(labels, "it")


def test_labels_in_any_order_and_form() -> None:
    assert nli_labels(["Neutral", "contradicts", "entailed"], "it") == {
        "neutral": 0,
        "contradiction": 1,
        "entailment": 2,
    }


def test_a_judge_is_asked_both_ways(judging) -> None:
    judge = judging(lambda question: 5 if question.rubric == CONTRADICTS else 2, plainly=True)
    assert relating("judge", judge, (1, 5))(PAIRS[:1]) == [Relation(0.2, 0.8)]  # 0.25 and 1 are more than all
    assert [(question.prompt.text, question.answers) for question in judge.asked] == [("it is red", ("it is red",))] * 2


def test_a_judge_without_opinion(judging) -> None:
    outage = judging(lambda question: Failed("outage") if question.rubric == CONTRADICTS else 1)
    assert relating("judge", outage)(PAIRS[:1]) == [Failed("outage")]
    assert relating("judge", judging(lambda question: Abstain("unsure")))(PAIRS[:1]) == [Abstain("unsure")]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("'entailment'", Relation(1.0, 0.0)),
        ("'contradiction'", Relation(0.0, 1.0)),
        ("'neutral'", Relation(0.0, 0.0)),
        ("{'entailment': 0.25, 'contradiction': 0.5}", Relation(0.25, 0.5)),
    ],
)
def test_functions(written, body: str, told: Relation) -> None:
    assert relating(written(f"def f(premise, hypothesis):\n    return {body}"))(PAIRS[:1]) == [told]


@pytest.mark.parametrize(
    "body", ["'yes'", "None", "0.5", "{'entailment': 2}", "{'entailment': float('nan')}", "{'e': 1}"]
)
def test_functions_that_say_something_else_have_failed(written, body: str) -> None:
    (told,) = relating(written(f"def f(premise, hypothesis):\n    return {body}"))(PAIRS[:1])
    assert isinstance(told, Failed)


def test_blank_texts_say_nothing_and_repeated_pairs_are_asked_once(judging) -> None:
    from rlaif_core import Score

    judge = judging(lambda question: Score(0.5, cost=1.0))
    told = relating("judge", judge)([("", "a"), ("a", " \u200b"), ("a", "b"), ("a", "b")])
    assert told == [Relation(0, 0), Relation(0, 0), Relation(0.5, 0.5, 2.0), Relation(0.5, 0.5, 0.0)]
    assert len(judge.asked) == 2
    assert relating("judge", judge)([]) == []


def test_an_instrument_must_be_named() -> None:
    with pytest.raises(ConfigError, match="entailment is missing: name an NLI checkpoint"):
        relating("")
    with pytest.raises(ConfigError, match="needs a judge"):
        relating("judge")


def test_the_first_failure_says_why() -> None:
    assert missing([Relation(0, 0, 1.0), Abstain("a"), Failed("f")]) == Failed("f", 1.0)
    assert missing([Relation(0, 0)]) is None
