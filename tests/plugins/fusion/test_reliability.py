from __future__ import annotations

import numpy as np
import pytest

from rlaif_core.logistic import Array
from rlaif_fusion.pairs import Pairs, gather
from rlaif_fusion.reliability import ENOUGH, dependent, error_correlations, reliabilities


def voters(accuracies: list[float], count: int, seed: int = 0) -> tuple[Pairs, Array]:
    random = np.random.default_rng(seed)
    truth = (random.random(count) < 0.5).astype(float)
    said = {f"s{p}": np.where(random.random(count) < p, truth, 1 - truth).tolist() for p in accuracies}
    return gather(said, kinds={}, positions={}, lengths=None, features=None), truth


def never(counts: Array) -> Array:
    raise AssertionError("where labels are trusted no model is asked")


def test_trusted_labels_give_the_beta_posterior() -> None:
    said = {"a": [1.0] * 8 + [0.0] * 2 + [0.5, None], "silent": [None] * 12}
    pairs = gather(said, kinds={}, positions={}, lengths=None, features=None)  # type: ignore[arg-type]
    found = reliabilities(pairs, np.ones(12), np.ones(12), 0.9, lambda counts: np.ones(12))
    assert found["a"].value == pytest.approx(9 / 12)  # 8 right and 2 wrong, and one of each before
    assert found["a"].low == pytest.approx(0.5299, abs=1e-3)  # Beta(9, 3)
    assert found["a"].high == pytest.approx(0.9212, abs=1e-3)
    assert found["silent"].value is None


def test_intervals_hold_what_is_true_as_often_as_they_say() -> None:
    held = []
    for seed in range(120):
        pairs, truth = voters([0.85, 0.6], 60, seed)
        found = reliabilities(pairs, truth, truth, 0.9, never)
        held += [found[f"s{p}"].low <= p <= found[f"s{p}"].high for p in (0.85, 0.6)]  # type: ignore[operator]
    assert np.mean(held) == pytest.approx(0.9, abs=0.05)


def test_doubt_of_the_model_widens_the_interval() -> None:
    pairs, truth = voters([0.8], 200)
    none = np.full(200, np.nan)
    random = np.random.default_rng(1)

    def doubtful(counts: Array) -> Array:
        return np.where(random.random(200) < random.random(), truth, 1 - truth)

    sure = reliabilities(pairs, none, truth, 0.95, lambda counts: truth)["s0.8"]
    wide = reliabilities(pairs, none, truth, 0.95, doubtful)["s0.8"]
    assert wide.value == sure.value
    assert wide.high - wide.low > 2 * (sure.high - sure.low)  # type: ignore[operator]


def test_fewer_labels_than_enough_leave_it_to_the_model() -> None:
    pairs, truth = voters([0.8], 300)
    few = np.where(np.arange(300) < ENOUGH - 1, 1 - truth, np.nan)
    found = reliabilities(pairs, few, truth, 0.95, lambda counts: truth)["s0.8"]
    assert found.value == pytest.approx(0.8, abs=0.06)


def test_errors_that_go_together_are_found() -> None:
    random = np.random.default_rng(0)
    truth = (random.random(2000) < 0.5).astype(float)
    first = np.where(random.random(2000) < 0.7, truth, 1 - truth)
    copy = np.where(random.random(2000) < 0.8, first, np.where(random.random(2000) < 0.7, truth, 1 - truth))
    other = np.where(random.random(2000) < 0.7, truth, 1 - truth)
    said = {"first": first.tolist(), "copy": copy.tolist(), "other": other.tolist(), "right": truth.tolist()}
    pairs = gather(said, kinds={}, positions={}, lengths=None, features=None)
    found = error_correlations(pairs, truth)
    assert found["first", "copy"] == pytest.approx(0.8, abs=0.05)
    assert found["first", "other"] == pytest.approx(0, abs=0.06)
    assert not any("right" in names for names in found)  # who never errs has nothing to correlate
    excess = dependent(pairs)
    assert excess.keys() == {("first", "copy")}
    assert excess["first", "copy"] == pytest.approx(0.8 * (1 - 0.58), abs=0.04)


@pytest.mark.parametrize("seed", range(5))
def test_independent_sources_are_not_suspected(seed: int) -> None:
    assert dependent(voters([0.9, 0.8, 0.75, 0.6, 0.3], 300, seed)[0]) == {}


def test_three_sources_cannot_tell_dependence_from_reliability() -> None:
    said = {name: [1.0, 0.0] * 50 for name in "abc"}
    assert dependent(gather(said, kinds={}, positions={}, lengths=None, features=None)) == {}


def test_few_shared_pairs_say_nothing() -> None:
    pairs, truth = voters([0.8, 0.7], 15)
    assert error_correlations(pairs, truth) == {}
    assert dependent(pairs) == {}
