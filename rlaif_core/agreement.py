"""How far sources agree, with each other and with what is right: accuracy, kappa, alpha, and how sure these are.

A rating is a number, a truth value or a text; None stands where a rater said nothing, and is left out. A statistic that
is undefined (nothing was rated twice, or everything alike, so that chance explains all) is None, never a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rlaif_core.errors import DataError

Rating = Hashable | None
Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A statistic with its confidence interval; all None where the data do not define it."""

    value: float | None
    low: float | None
    high: float | None
    level: float = 0.95

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        around = "" if self.low is None else f" ({self.low:.3f} to {self.high:.3f})"
        return f"{self.value:.3f}{around}"


def accuracy(said: Sequence[Rating], true: Sequence[Rating]) -> float | None:
    """Share of the items rated on both sides on which `said` equals `true`, from 0 to 1."""
    both = _both(said, true)
    return sum(a == b for a, b in both) / len(both) if both else None


def pairwise_accuracy(
    margins: Sequence[float | None], gold: Sequence[float | None], ties: Literal["drop", "half"] = "drop"
) -> float | None:
    """Share of pairs of answers that a source puts in the right order, from 0 to 1.

    `margins` and `gold` say by how much the first answer of each pair is the better one; only their signs count. Pairs
    that are tied in `gold` are left out, for no order of them is right. So are pairs that the source ties, unless
    `ties` is "half": then each counts half, as if a coin had decided.
    """
    both = [(_number(margin), _number(truth)) for margin, truth in _both(margins, gold)]
    marks = [
        0.5 if margin == 0 else float((margin > 0) == (truth > 0))
        for margin, truth in both
        if truth != 0 and (margin != 0 or ties == "half")
    ]
    return sum(marks) / len(marks) if marks else None


def cohen_kappa(
    first: Sequence[Rating], second: Sequence[Rating], weights: Literal["linear", "quadratic"] | None = None
) -> float | None:
    """Cohen's kappa of two raters, from -1 to 1: their agreement beyond what their own habits give by chance.

    With `weights` a disagreement counts by its distance in the order of the categories that occur (Cohen 1968), which
    must then be numbers. None where both always say the same one thing.
    """
    both = _both(first, second)
    if len({rating for pair in both for rating in pair}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    numbers = _codes([rating for pair in both for rating in pair], ordered=weights is not None)[0].reshape(-1, 2)
    return float(cohen_kappa_score(numbers[:, 0], numbers[:, 1], weights=weights))


def fleiss_kappa(ratings: Sequence[Sequence[Rating]]) -> float | None:
    """Fleiss' kappa (1971) of `ratings` [items][raters], up to 1: agreement of any two raters of an item beyond chance.

    Raters need not be the same from item to item, nor as many: an item's agreement is over its own pairs of ratings,
    and items with fewer than two are left out.
    """
    counts = _table(ratings)[0]
    counts = counts[counts.sum(1) >= 2]
    if not len(counts) or (counts.sum(0) > 0).sum() < 2:
        return None
    raters = counts.sum(1)
    observed = ((counts * (counts - 1)).sum(1) / (raters * (raters - 1))).mean()
    chance = ((counts.sum(0) / counts.sum()) ** 2).sum()
    return float((observed - chance) / (1 - chance))


def krippendorff_alpha(ratings: Sequence[Sequence[Rating]], level: Level = "nominal") -> float | None:
    """Krippendorff's alpha of `ratings` [items][raters], up to 1: 1 less observed over expected disagreement.

    `level` says how far two ratings are apart: "nominal" equal or not, "ordinal" by the ratings in between, "interval"
    by the square of their difference; the latter two take numbers. Any rating may be missing (Krippendorff, Content
    Analysis, 2004, chapter 11).
    """
    counts, values = _table(ratings, ordered=level != "nominal")
    counts = counts[counts.sum(1) >= 2]
    if not len(counts) or (counts.sum(0) > 0).sum() < 2:
        return None
    pairs = counts[:, :, None] * counts[:, None, :] - np.eye(counts.shape[1]) * counts[:, :, None]
    coincidence = (pairs / (counts.sum(1) - 1)[:, None, None]).sum(0)
    total = counts.sum(0)
    expected = (np.outer(total, total) - np.diag(total)) / (total.sum() - 1)
    apart = _distances(total, values, level)
    return float(1 - (coincidence * apart).sum() / (expected * apart).sum())


def bootstrap(
    statistic: Callable[..., float | None],
    *columns: Sequence[Any],
    groups: Sequence[Hashable] | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """`statistic(*columns)` with the percentile interval of its bootstrap over items (Efron 1979).

    Each draw takes as many items as there are, with replacement, the same of every column; items of one of `groups` (a
    prompt, a conversation) come and go together. Draws in which the statistic is undefined are left out; where that is
    every other one, there is no interval. The same `seed` gives the same interval.
    """
    if not columns or len({len(column) for column in (*columns, *([groups] if groups is not None else []))}) > 1:
        raise DataError(f"columns of {[len(column) for column in columns]} items; give one or more, all equally long")
    if not 0 < level < 1:
        raise DataError(f"the level of an interval is {level}, but must be between 0 and 1")
    value = statistic(*columns)
    if value is None or not len(columns[0]):
        return Interval(None, None, None, level)
    members = _members(groups if groups is not None else range(len(columns[0])))
    random = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        chosen = random.integers(len(members), size=len(members))
        rows = [row for number in chosen for row in members[number]]
        drawn = statistic(*(_take(column, rows) for column in columns))
        if drawn is not None:
            found.append(drawn)
    if len(found) <= draws / 2:
        return Interval(value, None, None, level)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level)


def _take(column: Sequence[Any], rows: list[int]) -> Sequence[Any]:
    return column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows]


def _members(groups: Sequence[Hashable]) -> list[list[int]]:
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    return list(members.values())


def _both(first: Sequence[Any], second: Sequence[Any]) -> list[tuple[Any, Any]]:
    """The pairs of ratings of the items that have both."""
    if len(first) != len(second):
        raise DataError(f"{len(first)} ratings stand against {len(second)}; give one a item on each side")
    pairs = ((_rating(a), _rating(b)) for a, b in zip(first, second, strict=True))
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _rating(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"a rating is {value}; write None where a rater said nothing, and leave out what failed")
    return value


def _number(value: Any) -> float:
    if isinstance(value, str | bytes) or not hasattr(value, "__float__"):
        raise DataError(f"the rating {value!r} is no number, but distances between ratings are asked for")
    return float(value)


def _codes(ratings: Sequence[Any], *, ordered: bool) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Every rating as the number of its category, and the categories' values in order (if `ordered`, else their
    numbers)."""
    if ordered:
        values, codes = np.unique(np.array([_number(rating) for rating in ratings]), return_inverse=True)
        return codes, values
    numbers = {rating: number for number, rating in enumerate(dict.fromkeys(ratings))}
    return np.array([numbers[rating] for rating in ratings], dtype=np.int64), np.arange(len(numbers), dtype=np.float64)


def _table(
    ratings: Sequence[Sequence[Rating]], *, ordered: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often each item [items, categories] was put into each category, and the categories' values."""
    said = [(item, rating) for item, row in enumerate(ratings) for one in row if (rating := _rating(one)) is not None]
    codes, values = _codes([rating for _, rating in said], ordered=ordered)
    counts = np.zeros((len(ratings), max(len(values), 1)))
    np.add.at(counts, (np.array([item for item, _ in said], dtype=np.int64), codes), 1)
    return counts, values


def _distances(total: NDArray[np.float64], values: NDArray[np.float64], level: Level) -> NDArray[np.float64]:
    """Squared distance [V, V] of any two categories; `total` says how many ratings each has."""
    if level == "nominal":
        return 1 - np.eye(len(total))
    # The place of a category among all ratings is the middle of its own; two are as far apart as what lies between.
    places = np.cumsum(total) - total / 2 if level == "ordinal" else values
    return np.subtract.outer(places, places) ** 2
