from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import DataError
from rlaif_fusion.prediction_powered import prediction_powered_mean

RATE, LABELLED, ALL = 0.4, 200, 20_000


def draw(seed: int, right: float = 0.85) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, a judge's predictions beside them, and its predictions elsewhere."""
    random = np.random.default_rng(seed)
    truth = (random.random(LABELLED + ALL) < RATE).astype(float)
    judged = np.where(random.random(len(truth)) < right, truth, 1 - truth)
    return truth[:LABELLED], judged[:LABELLED], judged[LABELLED:]


def test_by_hand() -> None:
    found = prediction_powered_mean([1, 0, 1], [1, 1, 0], [1, 1, 0, 0], weight=1.0)
    assert found.mean == pytest.approx(0.5 + (0 - 1 + 1) / 3)
    assert found.variance == pytest.approx(1.0 / 3 + (1 / 3) / 4)
    assert found.interval.high - found.interval.low == pytest.approx(2 * 1.959964 * math.sqrt(found.variance))  # type: ignore[operator]


def test_without_weight_it_is_the_mean_of_the_labels() -> None:
    labels = [1.0, 0.0, 0.0, 1.0, 1.0]
    for found in (
        prediction_powered_mean(labels, [0.3] * 5, [0.9] * 9, weight=0.0),
        prediction_powered_mean(labels, [0.3] * 5, [0.3] * 9),  # predictions all alike tell nothing
        prediction_powered_mean(labels, [0.1, 0.2, 0.3, 0.4, 0.5], []),
    ):
        assert found.mean == pytest.approx(0.6)
        assert found.variance == pytest.approx(np.var(labels, ddof=1) / 5)
        assert found.weight == 0.0


@pytest.mark.parametrize("right", [0.85, 0.5, 0.1])  # a good judge, a coin, an inverted one
def test_mean_is_right_whatever_the_judge_is_worth(right: float) -> None:
    means = [prediction_powered_mean(*draw(seed, right)).mean for seed in range(200)]
    assert np.mean(means) == pytest.approx(RATE, abs=4 * np.std(means) / math.sqrt(len(means)))


def test_variance_is_what_repeating_it_shows_and_less_than_of_labels_alone() -> None:
    found = [prediction_powered_mean(*draw(seed)) for seed in range(400)]
    spread = float(np.std([its.mean for its in found]))
    assert spread == pytest.approx(0.028, abs=0.003)  # 0.0363 from labels alone, a third more
    assert np.mean([its.variance for its in found]) ** 0.5 == pytest.approx(spread, rel=0.1)
    covered = [its.interval.low <= RATE <= its.interval.high for its in found]  # type: ignore[operator]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.035)


def test_tuned_weight_is_the_best_of_a_grid() -> None:
    data = draw(3)
    tuned = prediction_powered_mean(*data)
    assert 0 < tuned.weight < 1
    grid = [prediction_powered_mean(*data, weight=float(weight)).variance for weight in np.linspace(-0.5, 1.5, 81)]
    assert tuned.variance <= min(grid) * 1.001


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=9), st.floats(-3, 3))
def test_shifting_all_predictions_changes_nothing(rows: list[tuple[float, float]], shift: float) -> None:
    labels, beside = (np.array(column) for column in zip(*rows, strict=True))
    alone = np.array([0.0, 1.0, 3.0])
    found = prediction_powered_mean(labels, beside, alone, weight=0.7)
    moved = prediction_powered_mean(labels, beside + shift, alone + shift, weight=0.7)
    assert moved.mean == pytest.approx(found.mean, abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (([1], [1], [1]), "two at least"),
        (([1, 0], [1], [1]), "stand beside"),
        (([1, math.nan], [1, 0], [1]), "nan"),
        (([1, 0], [1, 0], [math.inf]), "inf"),
    ],
)
def test_what_cannot_be_averaged_is_refused(arguments: tuple[list[float], ...], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        prediction_powered_mean(*arguments)
    with pytest.raises(DataError, match="level"):
        prediction_powered_mean([1, 0], [1, 0], [1], level=95)
