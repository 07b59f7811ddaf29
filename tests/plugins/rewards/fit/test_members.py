from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rlaif_rewards.fit.config import FitConfig
from rlaif_rewards.fit.data import Labelled, Preferences
from rlaif_rewards.fit.members import drawn, members, together
from rlaif_rewards.reading import Shown
from rlaif_rewards.scorer import Reading

SMALL = {"hidden": 16, "layers": 1, "heads": 2, "vocabulary": 300, "max_length": 32, "epochs": 1, "lr": 1e-3}


def config(kind: str, **fit: Any) -> FitConfig:
    tables = {"data": {}, "fit": {"kind": kind, "target": "reward_model", **fit}, "transformer": SMALL}
    return FitConfig.of({**tables, "linear": {"strengths": [1.0]}})


def silent(_: str) -> None:
    pass


class Fixed:
    """Says what it is told to, in this order."""

    problem, labels = "exclusive", ["reward"]

    def __init__(self, *logits: Sequence[float]) -> None:
        self.logits = torch.tensor(logits)

    def read(self, answers: Sequence[Shown]) -> Reading:
        return Reading(self.logits, ("",) * len(answers))


def test_rewards_are_averaged_and_disagreement_is_that_of_every_two(pairs: Preferences) -> None:
    held = pairs.take([0, 1])
    scorers: list[Any] = [Fixed([2.0], [1.0], [0.0], [0.0]), Fixed([0.0], [1.0], [1.0], [0.0])]  # gaps 2 1 and -1 1
    each, said, apart = together(scorers, held, 1)
    assert len(each) == 2
    np.testing.assert_allclose(said.chances[:2], 1 / (1 + np.exp([-0.5, -1.0])))
    assert apart == {"spread": pytest.approx((1.5 + 0) / 2), "disagreement": pytest.approx(0.5)}
    assert together(scorers[:1], held, 1)[2] is None


def test_chances_of_labels_are_averaged(toy: Labelled) -> None:
    held = toy.take([0, 1])
    scorers: list[Any] = [Fixed([0.0, 0.0], [0.0, 50.0]), Fixed([50.0, 0.0], [0.0, 50.0])]
    _, said, apart = together(scorers, held, 1)
    np.testing.assert_allclose(said.chances, [0.25, 1.0], atol=1e-6)
    assert apart
    assert apart["spread"] == pytest.approx(0.125, abs=1e-6)


def test_groups_are_drawn_whole_and_more_than_one() -> None:
    groups = ["a", "a", "b", "c", "c", "c"]
    for seed in range(20):
        rows = drawn(groups, str(seed))
        counts = {name: [rows.count(row) for row, its in enumerate(groups) if its == name] for name in "abc"}
        assert all(len(set(each)) == 1 for each in counts.values())
        assert sum(each[0] for each in counts.values()) == 3
        assert len({groups[row] for row in rows}) > 1
    assert drawn(groups, "0") == drawn(groups, "0")
    assert drawn(["a", "a"], "0") == [0, 1]


@pytest.mark.parametrize("start", ["one", "several"])
def test_linear_members_differ_and_share_features_where_they_start_as_one(pairs: Preferences, start: str) -> None:
    rare = tuple(replace(shown, answer=f"{shown.answer} w{row // 2}") for row, shown in enumerate(pairs.chosen))
    one, other = members(config("tfidf", members=2, start=start), replace(pairs, chosen=rare), silent)
    assert (one.scorer.features.width == other.scorer.features.width) == (start == "one")
    if start == "one":
        assert not np.array_equal(one.scorer.weight, other.scorer.weight)
        shown = pairs.chosen[:5]
        mean = replace(one.scorer, weight=(one.scorer.weight + other.scorer.weight) / 2)
        mean.bias = (one.scorer.bias + other.scorer.bias) / 2
        expected = (one.scorer.logits(shown) + other.scorer.logits(shown)) / 2
        np.testing.assert_allclose(mean.logits(shown), expected)


def test_transformers_start_alike_or_each_anew_and_end_apart(pairs: Preferences) -> None:
    few = pairs.take(range(24))

    def weights(lr: float, **fit: Any) -> list[torch.Tensor]:
        chosen = config("transformer", members=2, **fit)
        chosen.transformer.lr = lr
        return [
            torch.cat([p.detach().flatten() for p in its.model.parameters()]) for its in members(chosen, few, silent)
        ]

    still: Any = {"one": weights(1e-30, start="one"), "several": weights(1e-30, start="several")}
    assert torch.allclose(*still["one"], atol=1e-6)
    assert not torch.allclose(*still["several"], atol=1e-3)
    assert not torch.allclose(*weights(1e-2, start="one"), atol=1e-4)


def test_one_alone_learns_from_all_rows(pairs: Preferences) -> None:
    from rlaif_rewards.fit.estimate import estimate

    (alone,) = members(config("tfidf"), pairs, silent)
    np.testing.assert_array_equal(alone.scorer.weight, estimate(config("tfidf"), pairs).scorer.weight)
