from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from rlaif_core import DataError
from rlaif_core.calibration import (
    Platt,
    Temperature,
    brier,
    calibration_error,
    fit_calibrator,
    fit_temperature,
    negative_log_likelihood,
    of_json,
    reliability,
)
from rlaif_core.logistic import logit, sigmoid

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=30)
PAIRS = st.lists(st.tuples(st.floats(0, 1), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=30)
KINDS = ("platt", "isotonic")


def overconfident(count: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose log-odds are twice what they should be, and 0.6 too high; with what came true."""
    random = np.random.default_rng(seed)
    score = random.normal(size=count) * 1.5
    return sigmoid(2 * score + 1.2), (random.random(count) < sigmoid(score)).astype(float)


def test_platt_undoes_overconfidence() -> None:
    said, true = overconfident(20_000)
    fitted = fit_calibrator(said, true)
    assert isinstance(fitted, Platt)
    assert fitted.slope == pytest.approx(0.5, abs=0.03)
    assert fitted.intercept == pytest.approx(-0.6, abs=0.05)
    assert brier(fitted(said), true) < brier(said, true)
    assert calibration_error(fitted(said), true) < 0.02 < calibration_error(said, true)


def test_platt_agrees_with_scikit_learn() -> None:
    said, true = overconfident()
    theirs = LogisticRegression(C=np.inf, tol=1e-10)
    smooth = np.where(true == 1, (true.sum() + 1) / (true.sum() + 2), 1 / (len(true) - true.sum() + 2))
    rows = np.concatenate([logit(said), logit(said)])[:, None]
    theirs.fit(rows, np.repeat([1, 0], len(said)), sample_weight=np.concatenate([smooth, 1 - smooth]))
    fitted = fit_calibrator(said, true)
    assert isinstance(fitted, Platt)
    assert fitted.slope == pytest.approx(theirs.coef_[0, 0], abs=1e-4)
    assert fitted.intercept == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_isotonic_agrees_with_scikit_learn() -> None:
    said, true = overconfident()
    least = 1 / (len(true) + 2)
    theirs = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit(said, true)
    points = np.linspace(0, 1, 101)
    np.testing.assert_allclose(fit_calibrator(said, true, kind="isotonic")(points), theirs.predict(points), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@given(pairs=PAIRS, points=PROBABILITIES)
def test_symmetric_keeps_both_orders_of_a_pair_complementary(
    kind: Any, pairs: list[tuple[float, float]], points: list[float]
) -> None:
    said, true = map(list, zip(*pairs, strict=True))
    fitted = fit_calibrator(said, true, kind=kind, symmetric=True)
    there, back = fitted(points), fitted(1 - np.array(points))
    np.testing.assert_allclose(there + back, 1, atol=1e-9)
    assert fitted([0.5]) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", KINDS)
@given(pairs=PAIRS)
def test_symmetric_fit_does_not_mind_in_which_order_pairs_were_shown(
    kind: Any, pairs: list[tuple[float, float]]
) -> None:
    said, true = (np.array(column) for column in zip(*pairs, strict=True))
    turned = fit_calibrator(1 - said, 1 - true, kind=kind, symmetric=True)
    points = np.linspace(0, 1, 11)
    expected = fit_calibrator(said, true, kind=kind, symmetric=True)(points)
    np.testing.assert_allclose(turned(points), expected, atol=1e-6)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@given(pairs=PAIRS, points=PROBABILITIES)
def test_any_fit_gives_probabilities_and_survives_json(
    kind: Any, symmetric: bool, pairs: list[tuple[float, float]], points: list[float]
) -> None:
    said, true = map(list, zip(*pairs, strict=True))
    fitted = fit_calibrator(said, true, kind=kind, symmetric=symmetric)
    found = fitted(points)
    assert ((found >= 0) & (found <= 1)).all()
    assert of_json(fitted.to_json()) == fitted
    if kind == "isotonic":
        assert (np.diff(fitted(np.sort(points))) >= -1e-12).all()


@pytest.mark.parametrize("kind", KINDS)
def test_one_class_alone_is_never_certain(kind: Any) -> None:
    fitted = fit_calibrator([0.2, 0.6, 0.9], [1, 1, 1], kind=kind)
    assert fitted([0.2, 0.9]) == pytest.approx([0.8, 0.8], abs=1e-5)  # (n + 1) / (n + 2): Laplace


@pytest.mark.parametrize("kind", KINDS)
def test_of_constant_probabilities_only_the_level_moves(kind: Any) -> None:
    fitted = fit_calibrator([0.5] * 40, [1] * 30 + [0] * 10, kind=kind)
    assert fitted([0.5])[0] == pytest.approx(0.75, abs=0.02)


def test_a_flawless_source_is_believed_but_not_for_certain() -> None:
    fitted = fit_calibrator([0.0, 1.0] * 50, [0, 1] * 50)
    assert fitted([0.0, 1.0]) == pytest.approx([1 / 52, 51 / 52], abs=1e-6)


def test_source_that_is_wrong_is_turned_around() -> None:
    fitted = fit_calibrator([0.1, 0.9] * 50, [1, 0] * 50, symmetric=True)
    assert isinstance(fitted, Platt)
    assert fitted.slope < 0
    assert fitted([0.9])[0] < 0.05


def test_weights_of_fitted_calibrators_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Platt().slope = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("said", "true", "complaint"),
    [
        ([], [], "no probabilities"),
        ([0.5], [0.5, 1], "stand against"),
        ([math.nan], [1], "probabilities hold nan"),
        ([0.5], [math.nan], "outcomes hold nan"),
        ([1.5], [1], "must lie between 0 and 1"),
        ([0.5], [2], "outcomes hold 2.0"),
        (["yes"], [1], "must be numbers"),
        ([None], [1], "probabilities hold nan"),
        ([[0.5]], [[1]], r"give \[n\] and \[n\]"),
    ],
)
@pytest.mark.parametrize("function", [fit_calibrator, brier, negative_log_likelihood, reliability, calibration_error])
def test_what_is_no_number_is_an_error(function: Any, said: list[Any], true: list[Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        function(said, true)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", '{"kind": "magic"}', '{"kind": "platt", "slope": NaN}', '{"kind": "platt", "slope": "1"}',
        '{"kind": "platt", "bend": 1}', '{"kind": "isotonic", "inputs": [0.2, 0.1], "outputs": [0, 1]}',
        '{"kind": "isotonic", "inputs": [], "outputs": []}', '{"kind": "isotonic", "inputs": [0, 1], "outputs": [0]}',
        '{"kind": "temperature", "temperature": 0}',
    ],
)  # fmt: skip
def test_text_that_is_no_calibrator_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        of_json(text)


# ---- temperature ----


def logits_and_labels(count: int = 300, scale: float = 2.5) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    scores = random.normal(size=(count, 4)) * 2
    labels = np.array([random.choice(4, p=row) for row in Temperature()(scores)])
    return scores * scale, labels


def loss(logits: np.ndarray, labels: np.ndarray, temperature: Temperature) -> float:
    return float(-np.log(temperature(logits)[np.arange(len(labels)), labels]).mean())


def test_temperature_is_recovered_and_lowers_the_loss() -> None:
    logits, labels = logits_and_labels(4000)
    fitted = fit_temperature(logits, labels)
    assert fitted.temperature == pytest.approx(2.5, rel=0.05)
    assert loss(logits, labels, fitted) < loss(logits, labels, Temperature())
    assert (fitted(logits).argmax(1) == logits.argmax(1)).all()
    assert of_json(fitted.to_json()) == fitted


def test_temperature_is_the_best_of_a_grid() -> None:
    logits, labels = logits_and_labels()
    fitted = fit_temperature(logits, labels)
    grid = [loss(logits, labels, Temperature(float(t))) for t in np.geomspace(0.05, 50, 400)]
    assert loss(logits, labels, fitted) <= min(grid) + 1e-12


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.integers(0, 1)), min_size=1, max_size=9))
def test_fitting_a_temperature_never_raises_the_loss(rows: list[tuple[float, float, int]]) -> None:
    logits, labels = np.array([row[:2] for row in rows]), np.array([row[2] for row in rows])
    scale = np.array([fit_temperature(logits, labels).temperature, 1.0])
    margins = (2 * labels - 1) * (logits[:, 1] - logits[:, 0])
    after, before = (np.logaddexp(0, -margins / t).mean() for t in scale)
    assert after <= before + 1e-9


def test_equal_logits_have_no_temperature() -> None:
    assert fit_temperature([[1.0, 1.0]], [0]) == Temperature()
    assert Temperature(3.0)([[7.0, 7.0]]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("logits", "labels"), [([], []), ([[1.0, 2.0]], [2]), ([[1.0]], [0.5]), ([[math.nan, 1.0]], [0]), ([1.0], [0])]
)
def test_temperature_needs_logits_and_labels_that_fit(logits: list[Any], labels: list[Any]) -> None:
    with pytest.raises(DataError):
        fit_temperature(logits, labels)


# ---- measures ----


def test_measures_of_a_table_by_hand() -> None:
    said, true = [0.1, 0.2, 0.8, 0.9], [0, 1, 1, 1]
    assert brier(said, true) == pytest.approx((0.01 + 0.64 + 0.04 + 0.01) / 4)
    assert negative_log_likelihood(said, true) == pytest.approx(-math.log(0.9 * 0.2 * 0.8 * 0.9) / 4)
    low, high = reliability(said, true, bins=2)
    assert (low.low, low.high, low.count, low.observed) == (0.0, 0.5, 2, 0.5)
    assert low.predicted == pytest.approx(0.15)
    assert (high.count, high.observed) == (2, 1.0)
    assert calibration_error(said, true, bins=2) == pytest.approx((2 * 0.35 + 2 * 0.15) / 4)


@pytest.mark.parametrize(("equal", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_measures_agree_with_scikit_learn(equal: Any, strategy: str) -> None:
    said, true = overconfident()
    assert brier(said, true) == pytest.approx(brier_score_loss(true, said))
    assert negative_log_likelihood(said, true) == pytest.approx(log_loss(true, said))
    observed, predicted = calibration_curve(true, said, n_bins=10, strategy=strategy)
    table = reliability(said, true, equal=equal)
    assert [row.observed for row in table] == pytest.approx(observed)
    assert [row.predicted for row in table] == pytest.approx(predicted)
    assert sum(row.count for row in table) == len(said)


def test_certainty_that_is_wrong_costs_much_but_not_everything() -> None:
    assert 30 < negative_log_likelihood([1.0], [0]) < 40
    assert negative_log_likelihood([1.0, 0.0], [1, 0]) == pytest.approx(0)


@given(PAIRS, st.integers(1, 12), st.sampled_from(["width", "mass"]))
def test_every_probability_is_in_one_bin_and_equal_ones_in_the_same(
    pairs: list[tuple[float, float]], bins: int, equal: Any
) -> None:
    said, true = map(list, zip(*pairs, strict=True))
    table = reliability(said, true, bins=bins, equal=equal)
    assert sum(row.count for row in table) == len(said)
    assert 0 <= calibration_error(said, true, bins=bins, equal=equal) <= 1
    assert len(reliability([said[0]] * 5, true[:1] * 5, bins=bins, equal=equal)) == 1


def test_no_bins_are_refused() -> None:
    with pytest.raises(DataError, match="give 1 or more"):
        reliability([0.5], [1], bins=0)
