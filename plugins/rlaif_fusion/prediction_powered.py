"""A mean from few labels and many predictions: unbiased whatever these are worth, and surer where they are good.

Prediction-powered inference (Angelopoulos et al., Science 2023), with the weight of the predictions tuned for the least
variance (PPI++, Angelopoulos, Duchi and Zrnic 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from rlaif_core import DataError
from rlaif_core.agreement import Interval
from rlaif_core.logistic import Array, finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The mean, its variance, the weight that the predictions were given (0: none), and its normal interval."""

    mean: float
    variance: float
    weight: float
    interval: Interval


def prediction_powered_mean(
    labels: ArrayLike,
    predicted: ArrayLike,
    unlabelled: ArrayLike,
    *,
    weight: float | None = None,
    level: float = 0.95,
) -> Estimate:
    """The mean of a label over all items: n with `labels` and what was `predicted` of them, N `unlabelled` predictions.

    weight * mean_N f + mean_n (Y - weight * f): with weight 0 the mean of the labels, with 1 that of the predictions
    less their error on the labelled. By default the weight of least variance, Cov(Y, f) / ((1 + n / N) Var f), which
    costs a bias of the order 1 / n where n is small. Predictions must not have seen the labels that they stand beside.
    """
    true, beside, alone = (finite("predictions and labels", values) for values in (labels, predicted, unlabelled))
    if true.shape != beside.shape or true.ndim != 1 or alone.ndim != 1:
        raise DataError(f"{true.shape} labels stand beside {beside.shape} predictions; give [n], [n] and [N]")
    if len(true) < 2:
        raise DataError(f"an interval from {len(true)} labels; give two at least")
    if not 0 < level < 1:
        raise DataError(f"the level of an interval is {level}, but must be between 0 and 1")
    if not len(alone):
        weight = 0.0
    elif weight is None:
        weight = _tuned(true, beside, alone)
    left = true - weight * beside
    mean, variance = float(left.mean()), float(left.var(ddof=1)) / len(true)
    if weight:
        mean += weight * float(alone.mean())
        variance += weight**2 * float(alone.var(ddof=1) if len(alone) > 1 else beside.var(ddof=1)) / len(alone)
    reach = NormalDist().inv_cdf((1 + level) / 2) * variance**0.5
    return Estimate(
        mean=mean, variance=variance, weight=weight, interval=Interval(mean, mean - reach, mean + reach, level)
    )


def _tuned(true: Array, beside: Array, alone: Array) -> float:
    spread = float(np.concatenate([beside, alone]).var(ddof=1))
    if spread == 0:
        return 0.0  # predictions that are all alike tell nothing
    return float(np.cov(true, beside, ddof=1)[0, 1]) / ((1 + len(true) / len(alone)) * spread)
