from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlaif_rewards.fit.features import Features, Tfidf
from rlaif_rewards.fit.linear import LinearScorer
from rlaif_rewards.reading import Shown

WORDS = Features((Tfidf("answer", "words", 1, 1, {"a": 0, "b": 1}, np.array([1.0, 2.0])),))


def scorer(problem: str = "exclusive") -> LinearScorer:
    return LinearScorer(["x", "y"], problem, WORDS, np.array([[0.0, 0.0], [1.0, -2.0]]), np.array([0.0, 0.5]))


def test_logits_by_hand() -> None:
    found = scorer().logits([Shown("", "a"), Shown("", "b b"), Shown("", "a b"), Shown("", "c")])
    length = np.sqrt(1 + 4)
    np.testing.assert_allclose(found[:, 1], [1.5, -1.5, 1 / length - 2 * 2 / length + 0.5, 0.5])
    np.testing.assert_array_equal(found[:, 0], 0)


def test_labels_exclude_one_another_or_do_not() -> None:
    (exclusive,) = scorer().probabilities([("", "a")])
    assert exclusive == pytest.approx([1 / (1 + np.exp(1.5)), 1 / (1 + np.exp(-1.5))])
    (independent,) = scorer("independent").probabilities([("", "a")])
    assert independent == pytest.approx([0.5, 1 / (1 + np.exp(-1.5))])


def test_only_json_and_safetensors_are_written(tmp_path: Path) -> None:
    stated = scorer().save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]
    assert stated["features"][0]["terms"] == ["a", "b"]


def test_a_cut_text_is_named() -> None:
    read = scorer().read([Shown("", "a " * 40_000), Shown("", "a")])
    assert read.notes == ("; 30000 characters did not fit and were not read", "")
