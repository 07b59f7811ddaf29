from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rlaif_core import ConfigError, DataError, Prompt, Score
from rlaif_core.testing import make_rollouts
from rlaif_rewards.classifier import Classifier
from rlaif_rewards.fit.features import Features, Tfidf
from rlaif_rewards.fit.linear import LinearScorer
from rlaif_rewards.reading import Shown
from rlaif_rewards.reward_model import RewardModel
from rlaif_rewards.scorer import load_scorer

PAIRS = [("is it red", "yes"), ("", "no no"), ("", "")]


def linear(folder: Path, labels: list[str], problem: str = "exclusive", framing: str = "none") -> str:
    """A folder of a linear model that counts "yes" for its last label."""
    words = Tfidf("answer", "words", 1, 1, {"yes": 0, "no": 1}, np.ones(2))
    weight = np.zeros((len(labels), 2))
    weight[-1] = [3.0, -3.0]
    scorer = LinearScorer(labels, problem, Features((words,)), weight, np.zeros(len(labels)))
    stated = {"format": 1, "kind": "tfidf", "framing": framing, **scorer.save(folder)}
    (folder / "fit.json").write_text(json.dumps(stated))
    return str(folder)


def test_chances_of_labels_that_exclude_one_another(classifier) -> None:
    scorer = load_scorer(classifier("bert", labels=("a", "b", "c")))
    assert scorer.labels == ["a", "b", "c"]
    logits = scorer.read([Shown(*pair) for pair in PAIRS]).logits
    found = scorer.probabilities(PAIRS)
    assert found == pytest.approx(np.array(logits.softmax(1).tolist()), abs=1e-6)
    assert [sum(row) for row in found] == pytest.approx([1.0] * 3)


def test_chances_of_labels_that_do_not(classifier) -> None:
    folder = classifier("bert", labels=("a", "b"), kind="multi_label_classification")
    scorer = load_scorer(folder)
    logits = scorer.read([Shown(*pair) for pair in PAIRS]).logits
    assert scorer.probabilities(PAIRS) == pytest.approx(np.array(logits.sigmoid().tolist()), abs=1e-6)
    with pytest.raises(ConfigError, match="predicts a number, not a probability"):
        load_scorer(classifier("llama", labels=("a",), kind="regression")).probabilities(PAIRS)


def test_the_context_is_shown_where_the_framing_says_so(classifier) -> None:
    folder = classifier("bert", framed=True)
    for framing, alike in (("none", True), ("pair", False), ("joined", False), ("chat", False)):
        one, other = load_scorer(folder, framing=framing).probabilities([("is it red", "yes"), ("no", "yes")])
        assert (one == pytest.approx(other, abs=1e-6)) == alike


def test_a_linear_folder_scores_as_computed_by_hand(tmp_path: Path) -> None:
    scorer = load_scorer(linear(tmp_path, ["bad", "good"]))
    sigmoid = 1 / (1 + np.exp(-3))
    assert scorer.probabilities(PAIRS) == pytest.approx(
        np.array([[1 - sigmoid, sigmoid], [sigmoid, 1 - sigmoid], [0.5, 0.5]])
    )


def test_a_linear_folder_serves_both_rewards(tmp_path: Path) -> None:
    rollouts = make_rollouts([("yes", "no")], prompts=[Prompt(id="p", text="is it")])
    classified = Classifier(linear(tmp_path, ["bad", "good"]), label="good", score="logodds").score(rollouts)
    assert [outcome.value for outcome in classified if isinstance(outcome, Score)] == pytest.approx([3, -3])
    assert classified[0].reason == "logodds of good is 3.000"
    rewarded = RewardModel(linear(tmp_path, ["reward"], "independent"), scale=2.0).score(rollouts)
    assert [outcome.value for outcome in rewarded if isinstance(outcome, Score)] == pytest.approx([6, -6])
    with pytest.raises(ConfigError, match="a reward model has one; name it with 'head', or use 'classifier'"):
        RewardModel(linear(tmp_path, ["bad", "good"]))


def test_a_fitted_folder_is_shown_what_it_was_fitted_on(tmp_path: Path) -> None:
    folder = linear(tmp_path, ["bad", "good"], framing="pair")
    load_scorer(folder, framing="pair")
    with pytest.raises(ConfigError, match="fitted with framing 'pair' and would misread 'chat'; leave it out"):
        load_scorer(folder, framing="chat")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        ({"format": 99}, "is of format 99, but 1 is what is read here"),
        ({"framing": "upside-down"}, "fit the folder again"),
        ({"labels": ["only"]}, "do not fit 1 labels and 2 features"),
        ({"features": [{"kind": "tfidf"}]}, "no whole folder of `rlaif fit`"),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, damage: dict[str, object], complaint: str) -> None:
    folder = linear(tmp_path, ["bad", "good"])
    stated = json.loads((tmp_path / "fit.json").read_text())
    (tmp_path / "fit.json").write_text(json.dumps({**stated, **damage}))
    with pytest.raises(DataError, match=complaint):
        load_scorer(folder)
    (tmp_path / "fit.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        load_scorer(folder)


def test_hostile_texts_get_a_number(classifier, tmp_path: Path) -> None:
    hostile = [("", ""), ("\ud800", "a\udfff"), ("\x00\u200b", "nan"), ("</s>", "yes </s> <s>"), ("x", "y" * 200_000)]
    for folder in (classifier("bert", framed=True), linear(tmp_path, ["bad", "good"])):
        found = torch.tensor(load_scorer(folder).probabilities(hostile))
        assert torch.allclose(found.sum(1), torch.ones(len(hostile)))
