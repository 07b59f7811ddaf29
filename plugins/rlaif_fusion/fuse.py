"""One front for fusing feedback: what sources said of pairs of answers in, one probability a pair and a fusion out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np

from rlaif_core import ConfigError, DataError
from rlaif_core.agreement import Interval
from rlaif_core.fusing import Fusion, Kind
from rlaif_core.logistic import Array
from rlaif_fusion.dawid_skene import dawid_skene
from rlaif_fusion.joint import joint_model
from rlaif_fusion.pairs import GRADES, Pairs, Said, gather, truths
from rlaif_fusion.reliability import dependent, error_correlations, reliabilities
from rlaif_fusion.stacking import Design, design, frozen, probabilities, read_off, stack

Method = Literal["auto", "majority", "dawid_skene", "joint", "stacking"]
ENOUGH = 20
"""Trusted labels from which on "auto" learns the weights from them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """`probabilities`: one a pair that its first answer is better, None where no source said anything (and there are no
    features to go by). `reliability`: how often each source is right where it takes sides. `bias`: what a place or a
    length alone is worth to a source, in log-odds. `error_correlation`: of every two sources, on trusted labels.
    `fusion`: what gave the probabilities, to be kept and used on other pairs."""

    probabilities: tuple[float | None, ...]
    reliability: Mapping[str, Interval]
    bias: Mapping[str, Mapping[str, float]]
    error_correlation: Mapping[tuple[str, str], float]
    fusion: Fusion

    @property
    def method(self) -> str:
        """The method that was used."""
        return self.fusion.method

    @property
    def notes(self) -> tuple[str, ...]:
        """What one should know before using it."""
        return self.fusion.notes


def fuse(
    votes: Mapping[str, Said],
    trusted: Said | None = None,
    *,
    method: Method = "auto",
    kinds: Mapping[str, Kind] | None = None,
    positions: Mapping[str, Said] | None = None,
    lengths: Said | None = None,
    features: Sequence[Sequence[float]] | None = None,
    mirrored: bool = True,
    level: float = 0.95,
    seed: int = 0,
) -> Fused:
    """Fuse what every source said of N pairs, None where it said nothing; `trusted` labels (1: the first is better, 0;
    None where unknown) of some.

    `kinds` says what a source's numbers are: "vote" (1, 0, 0.5 for neither; the default), "probability" or "score" (by
    how much the first is better). `positions` of a source are 1 where it was shown the first answer first, -1 where
    last; `lengths` are (first - second) / (first + second); `features` [N][F] whatever else is known of a pair, to be
    given with the sign that it has for the first answer. `mirrored`: which answer comes first means nothing, so that
    exchanging the two turns every probability p into 1 - p.

    Methods: "majority" (every source's evidence alike), "dawid_skene" (reliabilities from the votes alone, trusted
    labels fixed), "joint" (a latent preference, and biases by position and length), "stacking" (weights from trusted
    labels, pulled to those of the two models before). "auto" stacks where there are twenty trusted labels (of both
    kinds, unless mirrored), otherwise it is "joint" where positions, lengths or features are given, else "dawid_skene".
    Models of votes take most sources to be right more often than wrong; where that may not hold, trust some labels.
    The same arguments give the same result.
    """
    if method not in get_args(Method):
        raise ConfigError(f"fusion has no method {method!r}; there are {', '.join(get_args(Method))}")
    if not 0 < level < 1:
        raise ConfigError(f"the level of an interval is {level}, but must be between 0 and 1")
    pairs = gather(votes, kinds=kinds or {}, positions=positions or {}, lengths=lengths, features=features)
    truth = truths(trusted, len(pairs.lengths))
    if not pairs.spoke.any():
        raise DataError("no source said anything about any pair; nothing to fuse")
    known = int((~np.isnan(truth)).sum())
    chosen = _chosen(method, pairs, truth, mirrored)
    frame = design(pairs, mirrored=mirrored, length=bool(pairs.lengths.any()))
    spoke = dict(zip(pairs.names, pairs.spoke.T, strict=True))
    notes = [f"{name} said nothing about any pair" for name, its in spoke.items() if not its.any()]
    if chosen == "majority":
        coefficients = np.array([float(what == "slope") for _, what in frame.columns])
        posterior = probabilities(frame, coefficients)
    elif chosen == "stacking":
        if not known:
            raise DataError("stacking learns from trusted labels, but there are none; give some, or take dawid_skene")
        models = {name: partial(_weights, name, pairs, frame, mirrored) for name in ("dawid_skene", "joint")}
        stacked = stack(frame, truth, models, seed=seed)
        coefficients, posterior = stacked.coefficients, probabilities(frame, stacked.coefficients)
        notes.append(
            f"weights from {known} trusted labels, pulled to those of {stacked.towards} as if by {stacked.ridge:.3g}"
        )
    else:
        posterior = _model(chosen, pairs, truth, mirrored)
        coefficients = read_off(frame, posterior)
    notes += [
        f"{one} and {other} agree {excess:.0%} more often than independent sources would; where few labels are trusted,"
        " one that follows the other counts twice"
        for (one, other), excess in dependent(pairs).items()
    ]
    fusion = frozen(pairs, frame, coefficients, chosen, tuple(notes))
    silent = ~pairs.spoke.any(1) & (pairs.features.shape[1] == 0)
    found = probabilities(frame, coefficients)
    return Fused(
        probabilities=tuple(None if none else value for none, value in zip(silent, found.tolist(), strict=True)),
        reliability=reliabilities(pairs, truth, posterior, level, partial(_dawid_skene, pairs, truth, mirrored)),
        bias=_biases(pairs, truth, mirrored),
        error_correlation=error_correlations(pairs, truth),
        fusion=fusion,
    )


def _chosen(method: Method, pairs: Pairs, truth: Array, mirrored: bool) -> str:
    if method != "auto":
        return method
    labels = truth[~np.isnan(truth)]
    if len(labels) >= ENOUGH and (mirrored or len(np.unique(labels)) == 2):
        return "stacking"
    return "joint" if pairs.placed.any() or pairs.lengths.any() or pairs.features.size else "dawid_skene"


def _weights(name: str, pairs: Pairs, frame: Design, mirrored: bool, truth: Array) -> Array:
    return read_off(frame, _model(name, pairs, truth, mirrored))


def _model(name: str, pairs: Pairs, truth: Array, mirrored: bool) -> Array:
    """The model's posterior [N] that the first answer is better."""
    if name == "joint":
        return joint_model(pairs, truth, mirrored=mirrored).posterior
    return _dawid_skene(pairs, truth, mirrored)


def _dawid_skene(pairs: Pairs, truth: Array, mirrored: bool, counts: Array | None = None) -> Array:
    categories = 2 * GRADES + 1
    sides = np.arange(categories) - GRADES
    leaning = np.stack([sides < 0, sides > 0], 1) + (sides == 0)[:, None] / 2
    known = np.where(np.isnan(truth), -1, truth).astype(np.int64)
    options = {"categories": categories, "leaning": leaning, "mirrored": mirrored}
    fitted = dawid_skene(pairs.grades(), 2, trusted=known, counts=counts, **options)
    return fitted.posterior[:, 1]


def _biases(pairs: Pairs, truth: Array, mirrored: bool) -> dict[str, dict[str, float]]:
    """What a place and a length are worth to each source, where either is known."""
    if not (pairs.placed.any() or pairs.lengths.any()):
        return {name: {} for name in pairs.names}
    fitted = joint_model(pairs, truth, mirrored=mirrored)
    return {
        name: ({"position": float(fitted.position[place])} if pairs.placed[place] else {})
        | ({"length": float(fitted.length[place])} if pairs.lengths.any() else {})
        for place, name in enumerate(pairs.names)
    }
