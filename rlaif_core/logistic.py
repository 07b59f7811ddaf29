"""Log-odds, and the logistic regression that calibration and fusion share: pulled towards what was believed before."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlaif_core.errors import DataError

Array = NDArray[np.float64]

EDGE = 1e-6
"""Probabilities nearer than this to 0 or 1 are moved here before they are turned into log-odds."""


def logit(probabilities: ArrayLike, edge: float = EDGE) -> Array:
    """Log-odds of probabilities, which are first moved away from 0 and 1 by `edge`."""
    given = probabilities_of(probabilities).clip(edge, 1 - edge)
    odds: Array = np.log(given) - np.log1p(-given)
    return odds


def sigmoid(scores: ArrayLike) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0, -np.asarray(scores, dtype=np.float64)))


def fit_logistic(
    features: Array,
    outcomes: Array,
    *,
    ridge: float | Array,
    centre: Array,
    weights: Array | None = None,
    start: Array | None = None,
) -> Array:
    """Coefficients [F] of a logistic regression of `outcomes` [n] in [0, 1] on `features` [n, F], pulled to `centre`.

    They minimise the negative log-likelihood (by `weights` [n]) plus ridge / 2 * (coefficient - centre)^2, which is
    strictly convex for a positive `ridge` (a number, or one a coefficient). Newton's method, from `start` or the
    centre, each step halved until the objective falls.
    """
    ridge = np.broadcast_to(np.asarray(ridge, dtype=np.float64), centre.shape)
    weights = np.ones(len(outcomes)) if weights is None else weights

    def objective(at: Array) -> float:
        scores = features @ at
        losses = np.logaddexp(0, scores) - outcomes * scores
        return float(weights @ losses + (ridge * (at - centre) ** 2).sum() / 2)

    at = np.array(centre if start is None else start, dtype=np.float64)
    value = objective(at)
    for _ in range(100):
        expected = sigmoid(features @ at)
        gradient = features.T @ (weights * (expected - outcomes)) + ridge * (at - centre)
        curvature = (features.T * (weights * expected * (1 - expected))) @ features + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        share = 1.0
        while (new := objective(at - share * step)) > value and share > 1e-9:
            share /= 2
        if new > value:
            break
        at, before, value = at - share * step, value, new
        if np.abs(share * step).max(initial=0) < 1e-10 or before - value <= 1e-14 * abs(value):
            break
    return at


def finite(what: str, values: ArrayLike) -> Array:
    """`values` as float64; DataError where one is no number, or not finite."""
    try:
        given = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what} must be numbers") from None
    if not np.isfinite(given).all():
        raise DataError(f"{what} hold {given[~np.isfinite(given)].flat[0]}; leave out what is missing or failed")
    return given


def probabilities_of(values: ArrayLike, what: str = "probabilities") -> Array:
    """`values` as float64; DataError where one is not between 0 and 1."""
    given = finite(what, values)
    if ((given < 0) | (given > 1)).any():
        raise DataError(f"{what} hold {given[(given < 0) | (given > 1)].flat[0]}, but must lie between 0 and 1")
    return given
