"""How good probabilities are: how far off, how well calibrated, how well they tell apart, and how sure that is.

Outcomes are 0 or 1, or shares in between (a tie is 0.5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata  # type: ignore[import-untyped]

Array = NDArray[np.float64]
SURE = float(np.finfo(np.float64).eps)
"""No chance is taken to be nearer to 0 or 1, as in scikit-learn's log_loss."""


@dataclass(frozen=True, slots=True)
class Bin:
    """A row of a reliability table: `count` probabilities in (low, high], their mean, and how many came true."""

    low: float
    high: float
    predicted: float
    observed: float
    count: int


def brier(said: Array, true: Array) -> float:
    """Mean squared difference of probability and outcome (Brier 1950); 0.25 for always saying 0.5."""
    return float(((said - true) ** 2).mean())


def negative_log_likelihood(said: Array, true: Array) -> float:
    """Mean of -ln of the chance given to what came true; 0.693 for always saying 0.5."""
    said = said.clip(SURE, 1 - SURE)
    return float(-(true * np.log(said) + (1 - true) * np.log1p(-said)).mean())


def reliability(said: Array, true: Array, *, bins: int = 10) -> tuple[Bin, ...]:
    """What was said against what came true, in bins of equal width; empty ones left out."""
    edges = np.linspace(0, 1, bins + 1)
    places = np.searchsorted(edges[1:-1], said)
    rows = [(place, places == place) for place in range(bins)]
    return tuple(
        Bin(edges[place], edges[place + 1], float(said[its].mean()), float(true[its].mean()), int(its.sum()))
        for place, its in rows
        if its.any()
    )


def calibration_error(said: Array, true: Array, *, bins: int = 10) -> float:
    """Expected calibration error over the bins of `reliability` (Naeini et al. 2015); biased upwards in small bins."""
    table = reliability(said, true, bins=bins)
    return sum(row.count * abs(row.predicted - row.observed) for row in table) / len(said)


def auroc(said: Array, true: Array) -> float | None:
    """How likely what came true was given the higher chance; None where all or nothing did. Shares are rounded."""
    happened = true > 0.5
    wins, losses = int(happened.sum()), int((~happened).sum())
    if not wins or not losses:
        return None
    return float((rankdata(said)[happened].sum() - wins * (wins + 1) / 2) / (wins * losses))  # Mann and Whitney 1947


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float | None], groups: Sequence[str], *, draws: int = 500, seed: int = 0
) -> tuple[float, float] | None:
    """The percentile interval (95 %) of `statistic(rows)` over draws of whole groups; None where it is undefined."""
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    sets = [np.array(rows) for rows in members.values()]
    random = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        value = statistic(np.concatenate([sets[number] for number in random.integers(len(sets), size=len(sets))]))
        if value is not None:
            found.append(value)
    if len(found) <= draws / 2:
        return None
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
