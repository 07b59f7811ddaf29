from __future__ import annotations

import math

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rlaif_core import ConfigError, Failed, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.classifier import Classifier

ANSWERS = ("yes", "no it is red", "maybe", "blue blue")
ROLLOUTS = make_rollouts([ANSWERS])
THREE = ("calm", "rude", "toxic")


def values(source: Classifier, rollouts=ROLLOUTS) -> list[float]:
    outcomes = source.score(rollouts)
    assert all(isinstance(outcome, Score) and outcome.reason for outcome in outcomes)
    return [outcome.value for outcome in outcomes]


def logits_of(folder: str) -> torch.Tensor:
    """[answers, labels], each text by itself."""
    model, tokeniser = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return torch.cat([model.eval()(input_ids=tokeniser(a, return_tensors="pt").input_ids).logits for a in ANSWERS])


@pytest.mark.parametrize(("family", "pad"), [("bert", "own"), ("llama", "eos"), ("gpt2", "none")])
def test_keeps_the_contract(classifier, family: str, pad: str) -> None:
    check_reward(Classifier(classifier(family, pad=pad), label="good"))


def test_labels_that_exclude_one_another(classifier) -> None:
    folder = classifier("bert", labels=THREE)
    logits = logits_of(folder)
    chances = logits.softmax(1)
    for number, label in enumerate(THREE):
        assert values(Classifier(folder, label=label)) == pytest.approx(chances[:, number].tolist(), abs=1e-5)
        odds = (chances[:, number] / (1 - chances[:, number])).log()
        assert values(Classifier(folder, label=number, score="logodds")) == pytest.approx(odds.tolist(), abs=1e-4)
        raw = values(Classifier(folder, label=number, score="logit"))
        assert raw == pytest.approx(logits[:, number].tolist(), abs=1e-5)
    together = [
        sum(chance) for chance in zip(*(values(Classifier(folder, label=label)) for label in THREE), strict=True)
    ]
    assert together == pytest.approx([1.0] * len(ANSWERS))


def test_labels_that_do_not(classifier) -> None:
    folder = classifier("bert", labels=THREE, kind="multi_label_classification")
    expected = logits_of(folder)[:, 1]
    assert values(Classifier(folder, label="rude")) == pytest.approx(expected.sigmoid().tolist(), abs=1e-5)
    assert values(Classifier(folder, label="rude", score="logodds")) == pytest.approx(expected.tolist(), abs=1e-5)
    overridden = Classifier(folder, label="rude", multi_label=False)
    assert values(overridden) == pytest.approx(logits_of(folder).softmax(1)[:, 1].tolist(), abs=1e-5)
    plain = classifier("bert", labels=THREE)
    assert values(Classifier(plain, label="rude", multi_label=True)) == pytest.approx(
        logits_of(plain)[:, 1].sigmoid().tolist(), abs=1e-5
    )


def test_one_label_is_a_sigmoid_and_needs_no_name(classifier) -> None:
    folder = classifier("llama", labels=("spam",))
    assert values(Classifier(folder)) == pytest.approx(logits_of(folder)[:, 0].sigmoid().tolist(), abs=1e-5)


def test_regression_has_no_probability(classifier) -> None:
    folder = classifier("llama", labels=("quality",), kind="regression")
    assert values(Classifier(folder, score="logit")) == pytest.approx(logits_of(folder)[:, 0].tolist(), abs=1e-5)
    with pytest.raises(ConfigError, match="predicts a number, not a probability; set score = 'logit'"):
        Classifier(folder)


def test_negate_and_reason(classifier) -> None:
    folder = classifier("bert")
    plain, negated = Classifier(folder, label="bad"), Classifier(folder, label="bad", negate=True)
    assert values(negated) == [-value for value in values(plain)]
    value = values(plain)[0]
    assert plain.score(ROLLOUTS)[0].reason == f"prob of bad is {value:.3f}"
    assert negated.score(ROLLOUTS)[0].reason == f"prob of bad is {value:.3f}, negated"


def test_log_odds_do_not_saturate(classifier) -> None:
    source = Classifier(classifier("bert"), label="good", score="logodds")
    source.scorer.checkpoint.model.classifier.weight *= 1000
    odds = values(source)
    assert all(math.isfinite(value) for value in odds)
    assert max(abs(value) for value in odds) > 100
    source.measure = "prob"
    assert all(0 <= value <= 1 for value in values(source))


def test_the_prompt_can_be_shown(classifier) -> None:
    folder = classifier("bert", framed=True)
    rollouts = make_rollouts([("yes",), ("yes",)], prompts=["is it red", "no no no"])
    one, other = values(Classifier(folder, label="good"), rollouts)
    assert one == other
    for with_prompt in ("pair", "joined", "chat"):
        one, other = values(Classifier(folder, label="good", with_prompt=with_prompt), rollouts)
        assert abs(one - other) > 1e-3


def test_what_was_cut_is_in_the_reason(classifier) -> None:
    source = Classifier(classifier("bert"), label="good", max_length=2)
    reasons = [outcome.reason for outcome in source.score(ROLLOUTS)]
    assert ["did not fit" in reason for reason in reasons] == [False, True, False, False]
    assert reasons[1].endswith("; 2 tokens did not fit and were not read")


@pytest.mark.parametrize("score", ["prob", "logit", "logodds"])
def test_what_is_not_a_number_is_a_failure(classifier, score: str) -> None:
    source = Classifier(classifier("bert"), label="good", score=score)
    source.scorer.checkpoint.model.classifier.bias.fill_(math.nan)
    outcomes = source.score(ROLLOUTS)
    assert all(isinstance(outcome, Failed) for outcome in outcomes)
    assert "the classifier computed nan; its weights or its precision" in outcomes[0].reason


@pytest.mark.parametrize(
    ("label", "complaint"),
    [
        ("toxi", r"has no label 'toxi'; did you mean 'toxic'\?\. Labels: 0: calm, 1: rude, 2: toxic"),
        (3, r"has no label 3\. Labels: 0: calm"),
        (-1, r"has no label -1\. Labels"),
        (True, r"has no label True; give a name in quotes, or a number\. Labels"),
        ("", "has several labels; choose one. Labels: 0: calm, 1: rude, 2: toxic"),
    ],
)
def test_unknown_labels_are_answered_with_the_known(classifier, label: str | int, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Classifier(classifier("bert", labels=THREE), label=label)


def test_of_labels_that_share_a_name_one_is_chosen_by_its_number(classifier) -> None:
    folder = classifier("bert", labels=("other", "rude", "other"))
    with pytest.raises(
        ConfigError, match=r"has several labels 'other'; choose one by its number\. Labels: 0: other, 1"
    ):
        Classifier(folder, label="other")
    chances = logits_of(folder).softmax(1)
    for label, number in (("rude", 1), (2, 2)):
        assert values(Classifier(folder, label=label)) == pytest.approx(chances[:, number].tolist(), abs=1e-5)
