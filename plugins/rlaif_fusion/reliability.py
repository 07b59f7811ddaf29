"""How reliable each source is, with an interval, and which sources err together."""

from __future__ import annotations

import numpy as np
from scipy.stats import beta  # type: ignore[import-untyped]

from rlaif_core.agreement import Interval
from rlaif_core.logistic import Array
from rlaif_fusion.pairs import Pairs

ENOUGH = 10
"""Trusted labels beside a source's votes from which on they alone say how reliable it is."""
SHARED = 20
"""Pairs that two sources must both have taken sides on before anything is said of their errors."""


def reliabilities(pairs: Pairs, truth: Array, posterior: Array, level: float) -> dict[str, Interval]:
    """How often each source is right where it takes sides, from 0 to 1; undefined for one that never does.

    Where `truth` [N] (1, 0, NaN) is known beside ten of its votes, by these alone: the Beta posterior under a uniform
    prior. Otherwise by the model's `posterior` [N], whose doubt about what is true widens the interval (a Beta with the
    mean and variance of the share of right votes); it is as good as the model, and optimistic where sources err alike.
    """
    found = {}
    for place, name in enumerate(pairs.names):
        sides = np.nan_to_num(pairs.votes[:, place])
        tested = (sides != 0) & ~np.isnan(truth)
        if tested.sum() >= ENOUGH:
            right = int(((sides > 0) == (truth == 1))[tested].sum())
            found[name] = _beta(1 + right, 1 + int(tested.sum()) - right, level)
            continue
        right = np.where(sides > 0, posterior, 1 - posterior)[sides != 0]
        if not len(right):
            found[name] = Interval(None, None, None, level)
            continue
        mean = float((right.sum() + 1) / (len(right) + 2))
        variance = (mean * (1 - mean) + float((right * (1 - right)).mean())) / (len(right) + 3)
        size = max(mean * (1 - mean) / variance - 1, 2.0)
        found[name] = _beta(mean * size, (1 - mean) * size, level)
    return found


def _beta(right: float, wrong: float, level: float) -> Interval:
    low, high = beta.ppf([(1 - level) / 2, (1 + level) / 2], right, wrong)
    return Interval(right / (right + wrong), float(low), float(high), level)


def error_correlations(pairs: Pairs, truth: Array) -> dict[tuple[str, str], float]:
    """The correlation (phi) of the errors of every two sources on trusted labels; 0 for independent ones.

    Left out where they share fewer than twenty labels, or one of them is always right or always wrong there.
    """
    wrong = np.where(np.nan_to_num(pairs.votes) == 0, np.nan, (pairs.votes > 0) != (truth == 1)[:, None])
    wrong[np.isnan(truth)] = np.nan
    found = {}
    for one, first in enumerate(pairs.names):
        for other in range(one + 1, len(pairs.names)):
            shared = ~np.isnan(wrong[:, one]) & ~np.isnan(wrong[:, other])
            both = wrong[shared][:, [one, other]]
            if len(both) >= SHARED and (both.std(0) > 0).all():
                found[first, pairs.names[other]] = float(np.corrcoef(both.T)[0, 1])
    return found


def excess_agreement(pairs: Pairs, posterior: Array) -> dict[tuple[str, str], float]:
    """By how much more often every two sources agree than independent ones as reliable as they would, from -1 to 1.

    By the model's `posterior` alone, so it takes no trusted label; a model that errs with both sources sees less of it.
    """
    found = {}
    for one, first in enumerate(pairs.names):
        for other in range(one + 1, len(pairs.names)):
            votes = pairs.votes[:, [one, other]]
            sides = (np.nan_to_num(votes) != 0).all(1)
            if sides.sum() < SHARED:
                continue
            right = np.where(votes[sides] > 0, posterior[sides, None], 1 - posterior[sides, None]).mean(0)
            expected = right.prod() + (1 - right).prod()
            found[first, pairs.names[other]] = float((votes[sides, 0] == votes[sides, 1]).mean() - expected)
    return found
