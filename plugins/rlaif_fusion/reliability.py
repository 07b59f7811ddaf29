"""How reliable each source is, with an interval, and which sources err together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta  # type: ignore[import-untyped]

from rlaif_core.agreement import Interval
from rlaif_core.logistic import Array
from rlaif_fusion.pairs import Pairs

ENOUGH = 10
"""Trusted labels beside a source's votes from which on they alone say how reliable it is."""
DRAWS = 60
"""How often items are drawn anew to see how far a reliability moves."""
SHARED = 20
"""Pairs that two sources must both have taken sides on before anything is said of their errors."""
FEWEST = 4
"""Sources without which the dependence of two cannot be told from their reliability."""
SUSPICIOUS = 0.2
"""Excess of 2 P(agree) - 1 from which on two sources are named."""
ROUNDS = 30

Model = Callable[[Array], Array]
"""From how often each item is there [N] to the probabilities of what is true [N]."""


def reliabilities(pairs: Pairs, truth: Array, posterior: Array, level: float, model: Model) -> dict[str, Interval]:
    """How often each source is right where it takes sides, from 0 to 1; undefined for one that never does.

    Where `truth` [N] (1, 0, NaN) is known beside ten of its votes, by these alone: the Beta posterior under a uniform
    prior. Otherwise by the `posterior` [N] of what is true, whose own doubt is found by fitting `model` again to items
    drawn anew (a Beta with that mean and variance). It is as good as the assumption that sources err independently,
    and means nothing where most of them are wrong.
    """
    sides = np.nan_to_num(pairs.votes)
    tested = (sides != 0) & ~np.isnan(truth)[:, None]
    alone = tested.sum(0) >= ENOUGH
    spread = np.zeros(len(pairs.names)) if alone.all() else _spread(sides, model)
    found = {}
    for place, name in enumerate(pairs.names):
        if alone[place]:
            its = tested[:, place]
            right = int(((sides[:, place] > 0) == (truth == 1))[its].sum())
            found[name] = _beta(1 + right, 1 + int(its.sum()) - right, level)
            continue
        if not sides[:, place].any():
            found[name] = Interval(None, None, None, level)
            continue
        count = int((sides[:, place] != 0).sum())
        share = float(_right(sides, posterior, np.ones(len(sides)))[place])
        mean = (share * count + 1) / (count + 2)
        size = max(mean * (1 - mean) / max(float(spread[place]) ** 2, mean * (1 - mean) / (count + 3)) - 1, 2.0)
        found[name] = _beta(mean * size, (1 - mean) * size, level)
    return found


def _spread(sides: Array, model: Model) -> Array:
    """Standard deviation of every source's reliability [S] over items drawn anew."""
    random = np.random.default_rng(0)
    count = len(sides)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)
    spread: Array = np.std([_right(sides, model(counts), counts) for counts in drawn], axis=0)
    return spread


def _right(sides: Array, posterior: Array, counts: Array) -> Array:
    """The share of each source's votes [S] that are expected to be right; 0 for one that never takes sides."""
    right = np.where(sides > 0, posterior[:, None], 1 - posterior[:, None]) * (sides != 0)
    share: Array = (counts @ right) / np.maximum(counts @ (sides != 0), 1e-9)
    return share


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


def dependent(pairs: Pairs) -> dict[tuple[str, str], float]:
    """Pairs of sources that agree more often than independent ones could, and by how much, from 0 to 1.

    Independent sources s and t agree by 2 P(agree) - 1 = w_s w_t, where w is how often each is right less how often it
    is wrong (what Dawid and Skene's model comes to). All w are fitted to the agreements of the other pairs, so it takes
    four sources; the worst pair is put aside before the next is looked for. No model of what is true is asked: one
    would take two sources that copy each other for the best.
    """
    agreement, shared = _agreements(pairs)
    spoke = (shared >= SHARED).sum(0) >= 2
    usable = (shared >= SHARED) & np.outer(spoke, spoke)
    np.fill_diagonal(usable, False)
    found: dict[tuple[str, str], float] = {}
    while usable.any(0).sum() >= FEWEST:
        excess = np.full(agreement.shape, -np.inf)
        for one, other in zip(*np.nonzero(np.triu(usable)), strict=True):
            rest = usable.copy()
            rest[one, other] = rest[other, one] = False
            weight = _one_factor(agreement, rest)
            excess[one, other] = agreement[one, other] - weight[one] * weight[other]
        one, other = np.unravel_index(int(excess.argmax()), excess.shape)
        if excess[one, other] < max(SUSPICIOUS, 3 / shared[one, other] ** 0.5):
            break
        found[pairs.names[one], pairs.names[other]] = float(excess[one, other]) / 2
        usable[one, other] = usable[other, one] = False
    return found


def _agreements(pairs: Pairs) -> tuple[Array, Array]:
    """2 P(agree) - 1 of every two sources [S, S] where both take sides, and on how many pairs they do."""
    sides = np.nan_to_num(pairs.votes)
    shared = np.abs(sides).T @ np.abs(sides)
    return (sides.T @ sides) / np.maximum(shared, 1), shared


def _one_factor(agreement: Array, usable: NDArray[np.bool_]) -> Array:
    """w [S] whose products come nearest to the usable agreements, by alternating least squares."""
    known = np.where(usable, agreement, 0.0)
    weight = np.full(len(agreement), 0.5)
    for _ in range(ROUNDS):
        for place in range(len(weight)):
            weight[place] = np.clip(known[place] @ weight / max(usable[place] @ weight**2, 1e-9), -1, 1)
    return weight
