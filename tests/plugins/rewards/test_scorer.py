from __future__ import annotations

import pytest

from rlaif_rewards.scorer import load_scorer

PAIRS = [("is it red", "yes"), ("", "no it is"), ("red", "")]


def test_labels_that_exclude_one_another_sum_to_one(classifier) -> None:
    scorer = load_scorer(classifier("bert", labels=("a", "b", "c"), framed=True), framing="pair", device="cpu")
    rows = scorer.probabilities(PAIRS)
    assert scorer.labels == ["a", "b", "c"]
    assert [sum(row) for row in rows] == pytest.approx([1.0] * 3)
    assert scorer.probabilities(PAIRS[1:2])[0] == pytest.approx(rows[1], abs=1e-6)  # company makes no difference
    assert scorer.probabilities([]) == []


def test_each_of_several_labels_by_itself(classifier) -> None:
    folder = classifier("bert", labels=("a", "b"), kind="multi_label_classification")
    rows = load_scorer(folder, device="cpu").probabilities(PAIRS)
    assert all(0 < chance < 1 for row in rows for chance in row)
    assert any(abs(sum(row) - 1) > 1e-3 for row in rows)


def test_alone_the_context_is_not_read(classifier) -> None:
    folder = classifier("bert", framed=True)
    alone, paired = load_scorer(folder, device="cpu"), load_scorer(folder, framing="pair", device="cpu")
    assert alone.probabilities([("red", "yes")]) == alone.probabilities([("blue", "yes")])
    assert paired.probabilities([("red", "yes")]) != paired.probabilities([("blue", "yes")])
