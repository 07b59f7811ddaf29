"""What several sources said about pairs of answers, in the shape in which it is fitted: arrays, NaN where nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from rlaif_core import DataError
from rlaif_core.fusing import Kind, evidence
from rlaif_core.logistic import Array, finite

Said = Sequence[float | None]
SIDES = (0.0, 0.5, 1.0)
"""What a vote can be: for the second, for neither, for the first."""
GRADES = 3
"""Into how many grades of sureness a source is cut that is more than a vote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """N pairs and S sources. `evidence` [N, S] is NaN where a source said nothing, `positions` [N, S] 1 or -1 (0: not
    known), `lengths` [N] and `features` [N, F] what is known of the pairs themselves."""

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    scales: tuple[float, ...]
    evidence: Array
    positions: Array
    lengths: Array
    features: Array

    @property
    def spoke(self) -> NDArray[np.bool_]:
        """Whether each source said something [N, S]."""
        there: NDArray[np.bool_] = ~np.isnan(self.evidence)
        return there

    @property
    def votes(self) -> Array:
        """For which answer each source is [N, S]: 1 the first, -1 the second, 0 neither, NaN where it said nothing."""
        votes: Array = np.sign(self.evidence)
        return votes

    @property
    def placed(self) -> NDArray[np.bool_]:
        """Of which sources [S] it is known in what order they were shown the answers."""
        known: NDArray[np.bool_] = np.abs(self.positions).max(0, initial=0) > 0
        return known

    def grades(self) -> NDArray[np.int64]:
        """What each source said as one of 2 * GRADES + 1 categories [N, S], -1 for nothing; the middle one is neither.

        A vote is always of the highest grade; of other sources each grade holds as many of their own words, so that
        how much a grade is worth can be learnt. Exchanging the answers of a pair mirrors its category.
        """
        found = np.full(self.evidence.shape, -1, dtype=np.int64)
        for source, kind in enumerate(self.kinds):
            said = self.spoke[:, source]
            its = self.evidence[said, source]
            size = np.abs(its)
            grade = np.where(size > 0, GRADES, 0)
            if kind != "vote" and (size > 0).any():
                edges = np.quantile(size[size > 0], np.arange(1, GRADES) / GRADES)
                grade = np.where(size > 0, 1 + np.searchsorted(edges, size), 0)
            found[said, source] = GRADES + np.sign(its).astype(np.int64) * grade
        return found


def gather(
    said: Mapping[str, Said],
    *,
    kinds: Mapping[str, Kind],
    positions: Mapping[str, Said],
    lengths: Said | None,
    features: Sequence[Sequence[float]] | None,
) -> Pairs:
    """Check what the sources said and put it into arrays; a source that never speaks is left out by whoever fits."""
    names = tuple(said)
    if not names:
        raise DataError("there is no source to fuse; name at least one")
    count = len(said[names[0]])
    _same(said, names, count, "source")
    _same(positions, names, count, "the positions of source")
    if unknown := {*kinds} - {*names}:
        raise DataError(f"a kind is given for {sorted(unknown)}, but there is no such source")
    columns = [_spoken(name, said[name], kinds.get(name, "vote")) for name in names]
    its_lengths = np.zeros(count) if lengths is None else np.nan_to_num(_column("lengths", lengths))
    if len(its_lengths) != count or np.abs(its_lengths).max(initial=0) > 1:
        raise DataError(f"lengths must be {count} numbers (first - second) / (first + second), from -1 to 1")
    places = np.zeros((count, len(names)))
    for name, column in positions.items():
        places[:, names.index(name)] = _places(name, column)
    return Pairs(
        names=names,
        kinds=tuple(kinds.get(name, "vote") for name in names),
        scales=tuple(scale for scale, _ in columns),
        evidence=np.stack([its for _, its in columns], 1),
        positions=places,
        lengths=its_lengths,
        features=_features(features, count),
    )


def truths(trusted: Said | None, count: int) -> Array:
    """Trusted labels [N], NaN where there is none; one of neither (0.5) is no label, for it takes no side."""
    if trusted is None:
        return np.full(count, np.nan)
    found = _column("the trusted labels", trusted)
    if len(found) != count:
        raise DataError(f"there are {len(found)} trusted labels for {count} pairs")
    known = ~np.isnan(found)
    if not np.isin(found[known], SIDES).all():
        raise DataError(f"a trusted label is {_odd(found[known])}; it must be 1 (the first is better), 0 or 0.5")
    return np.where(found == 0.5, np.nan, found)


def _same(columns: Mapping[str, Said], names: Sequence[str], count: int, what: str) -> None:
    for name, column in columns.items():
        if name not in names:
            raise DataError(f"{what} {name!r} is given, but no such source; there are {', '.join(names)}")
        if len(column) != count:
            raise DataError(f"{what} {name!r} has {len(column)} rows, but source {names[0]!r} has {count}")


def _spoken(name: str, column: Said, kind: Kind) -> tuple[float, Array]:
    """A source's scale and its evidence [N], NaN where it said nothing."""
    if kind not in get_args(Kind):
        raise DataError(f"source {name!r} is of kind {kind!r}; there are {', '.join(get_args(Kind))}")
    given = _column(f"source {name!r}", column)
    spoke = ~np.isnan(given)
    if kind == "vote" and not np.isin(given[spoke], SIDES).all():
        raise DataError(f"source {name!r} votes {_odd(given[spoke])}; a vote is 1, 0 or 0.5 (neither)")
    scale = _scale(given[spoke]) if kind == "score" else 1.0
    found = np.full(len(given), np.nan)
    found[spoke] = evidence(kind, given[spoke], scale)
    return scale, found


def _places(name: str, column: Said) -> Array:
    shown: Array = np.nan_to_num(_column(f"the positions of source {name!r}", column))
    if not np.isin(shown, (-1.0, 0.0, 1.0)).all():
        raise DataError(f"the positions of source {name!r} must be 1 (first answer shown first), -1, or None")
    return shown


def _features(features: Sequence[Sequence[float]] | None, count: int) -> Array:
    if features is None:
        return np.zeros((count, 0))
    found = finite("features", features)
    if found.ndim != 2 or len(found) != count:
        raise DataError(f"features {found.shape} must be [{count}, F]: a row a pair")
    return found


def _column(what: str, values: Sequence[Any]) -> Array:
    """Numbers, NaN for None; a number that is not finite is an error, for it is a failure in disguise."""
    given = [value for value in values if value is not None]
    finite(what, given)
    return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)


def _odd(values: Array) -> float:
    return float(values[~np.isin(values, SIDES)][0])


def _scale(margins: Array) -> float:
    """The root mean square of a source's margins: a margin of this size is evidence of one."""
    return float(np.sqrt((margins**2).mean())) or 1.0 if len(margins) else 1.0
