from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from rlaif_core import DataError
from rlaif_core.logistic import EDGE, finite, fit_logistic, logit, sigmoid


@given(st.floats(1e-5, 1 - 1e-5))
def test_sigmoid_undoes_logit(probability: float) -> None:
    assert sigmoid(logit(probability)) == pytest.approx(probability, rel=1e-9)
    assert logit(1 - probability) == pytest.approx(-logit(probability), abs=1e-9)


def test_extremes_are_finite() -> None:
    assert logit([0.0, 1.0]) == pytest.approx([logit(EDGE), -logit(EDGE)])
    assert sigmoid([-1e4, 0, 1e4]).tolist() == [0.0, 0.5, 1.0]
    with pytest.raises(DataError, match="scores hold inf"):
        finite("scores", [1.0, math.inf])


@pytest.mark.parametrize("ridge", [0.1, 1.0, 30.0])
def test_logistic_regression_agrees_with_scikit_learn(ridge: float) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(60, 3))
    outcomes = (random.random(60) < sigmoid(features @ np.array([1.0, -2.0, 0.0]))).astype(float)
    weights = random.random(60)
    theirs = LogisticRegression(C=1 / ridge, fit_intercept=False, tol=1e-12, max_iter=1000)
    theirs.fit(features, outcomes, sample_weight=weights)
    found = fit_logistic(features, outcomes, ridge=ridge, centre=np.zeros(3), weights=weights)
    np.testing.assert_allclose(found, theirs.coef_[0], atol=1e-5)


def test_without_data_the_centre_stands_and_a_strong_pull_holds_it() -> None:
    centre = np.array([2.0, -1.0])
    assert (fit_logistic(np.zeros((0, 2)), np.zeros(0), ridge=1.0, centre=centre) == centre).all()
    features, outcomes = np.eye(2), np.array([0.0, 1.0])
    found = fit_logistic(features, outcomes, ridge=np.array([1e9, 1e-3]), centre=centre)
    assert found[0] == pytest.approx(2.0, abs=1e-6)
    assert found[1] > 0


@given(st.lists(st.tuples(st.floats(-20, 20), st.floats(0, 1)), min_size=1, max_size=12))
def test_gradient_vanishes_at_what_is_found(rows: list[tuple[float, float]]) -> None:
    features, outcomes = np.array([[x] for x, _ in rows]), np.array([y for _, y in rows])
    found = fit_logistic(features, outcomes, ridge=0.01, centre=np.array([1.0]))
    gradient = features.T @ (sigmoid(features @ found) - outcomes) + 0.01 * (found - 1.0)
    assert np.abs(gradient).max() < 1e-5
