from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from rlaif_rewards.fit.measures import (
    auroc,
    bootstrap,
    brier,
    calibration_error,
    negative_log_likelihood,
    reliability,
)

SAID = np.array([0.1, 0.4, 0.35, 0.8, 0.95, 0.5])
TRUE = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 0.0])


def test_figures_are_those_of_scikit_learn() -> None:
    assert brier(SAID, TRUE) == pytest.approx(brier_score_loss(TRUE, SAID))
    assert negative_log_likelihood(SAID, TRUE) == pytest.approx(log_loss(TRUE, SAID))
    assert auroc(SAID, TRUE) == pytest.approx(roc_auc_score(TRUE, SAID))


def test_the_calibration_error_by_hand() -> None:
    said, true = np.array([0.05, 0.05, 0.95, 0.95]), np.array([0.0, 1.0, 1.0, 1.0])
    table = reliability(said, true)
    assert [(row.count, row.predicted, row.observed) for row in table] == [(2, 0.05, 0.5), (2, 0.95, 1.0)]
    assert calibration_error(said, true) == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_every_probability_is_in_one_bin(rows: list[tuple[float, bool]]) -> None:
    said, true = np.array([p for p, _ in rows]), np.array([float(t) for _, t in rows])
    assert sum(row.count for row in reliability(said, true)) == len(rows)
    assert 0 <= calibration_error(said, true) <= 1


def test_what_is_undefined_is_none() -> None:
    assert auroc(SAID, np.ones(6)) is None
    assert bootstrap(lambda rows: None, ["a", "b"]) is None


def test_groups_are_drawn_whole() -> None:
    seen: set[int] = set()

    def count(rows: np.ndarray) -> float:
        seen.update(rows.tolist())
        assert sorted(rows[rows < 3]) == sorted(np.repeat([0, 1, 2], (rows == 0).sum()))
        return float(len(rows))

    assert bootstrap(count, ["a", "a", "a", "b"], draws=50) == (4 - 2, 4 + 2)
    assert seen == {0, 1, 2, 3}


def test_the_interval_of_a_mean_has_its_textbook_width() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap(lambda rows: float(values[rows].mean()), [str(n) for n in range(400)], draws=2000)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert low < values.mean() < high
