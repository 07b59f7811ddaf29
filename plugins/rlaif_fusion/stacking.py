"""Weights of sources, as log-odds that add up: read off a model of the votes, or learnt from trusted labels.

Models of votes take sources to err independently; where they do not (a judge that was taught by another's labels), they
count the same evidence twice. A logistic regression on trusted labels sees that. It is pulled towards the weights of a
model, as hard as cross-validation says, so that few labels do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rlaif_core.fusing import Fusion, Weight
from rlaif_core.logistic import Array, fit_logistic, sigmoid
from rlaif_fusion.pairs import Pairs

FOLDS = 5
RIDGES = tuple(float(ridge) for ridge in np.geomspace(0.1, 1000, 9))
"""How hard weights are pulled, from hardly to hardly moved: in observations that speak for where they came from."""
EXACT = 1e-3
"""The same for weights that are read off a model, whose probabilities they follow but where nothing settles them."""
SCALE = 1.0
"""And for the one number by which all weights of a model are stretched before anything is pulled to them."""


@dataclass(frozen=True, slots=True)
class Design:
    """The columns of the regression: `matrix` [N, C], and what each is, as in (source, "slope"), (None, "constant")."""

    matrix: Array
    columns: tuple[tuple[int | None, str], ...]


def design(pairs: Pairs, *, mirrored: bool, length: bool) -> Design:
    """Evidence of every source, its position where known, the length where wanted, features and constants."""
    columns: list[tuple[int | None, str]] = []
    parts: list[Array] = []
    for place in range(len(pairs.names)):
        spoke = pairs.spoke[:, place]
        if not spoke.any():
            continue
        named = {"slope": np.nan_to_num(pairs.evidence[:, place])}
        if pairs.placed[place]:
            named["position"] = pairs.positions[:, place] * spoke
        if length:
            named["length"] = pairs.lengths * spoke
        if not mirrored:
            named["offset"] = spoke.astype(np.float64)
        columns += [(place, name) for name in named]
        parts += named.values()
    for feature in range(pairs.features.shape[1]):
        columns.append((feature, "feature"))
        parts.append(pairs.features[:, feature])
    if not mirrored:
        columns.append((None, "constant"))
        parts.append(np.ones(len(pairs.lengths)))
    matrix = np.stack(parts, 1) if parts else np.zeros((len(pairs.lengths), 0))
    return Design(matrix, tuple(columns))


def read_off(frame: Design, posterior: Array) -> Array:
    """Coefficients [C] of the weights that come nearest to a model's `posterior` [N]; exactly that of Dawid and Skene
    with mirrored votes, which adds up by itself."""
    centre = np.zeros(frame.matrix.shape[1])
    return fit_logistic(frame.matrix, posterior, ridge=EXACT, centre=centre)


@dataclass(frozen=True, slots=True)
class Stacked:
    """Coefficients [C], what they were pulled to and how hard, and the losses in cross-validation of every choice."""

    coefficients: Array
    towards: str
    ridge: float
    losses: dict[tuple[str, float], float]


Model = Callable[[Array], Array]
"""From trusted labels [N], some of them held back, to the coefficients [C] of a model of the votes."""


def stack(frame: Design, labels: Array, models: Mapping[str, Model], *, seed: int = 0) -> Stacked:
    """Learn from trusted `labels` [N] (1, 0, NaN), pulled to the weights of whichever of the `models` does best on
    labels that neither it nor the regression has seen."""
    rows = np.flatnonzero(~np.isnan(labels))
    given, true = frame.matrix[rows], labels[rows]
    folds = np.random.default_rng(seed).permutation(len(rows)) % FOLDS
    losses = {(name, ridge): 0.0 for name in models for ridge in RIDGES}
    for fold in np.unique(folds):
        out = folds == fold
        seen = labels.copy()
        seen[rows[out]] = np.nan
        for name, model in models.items():
            centre = model(seen)
            for ridge in RIDGES:
                scores = given[out] @ _pulled(given[~out], true[~out], centre, ridge)
                losses[name, ridge] += float((np.logaddexp(0, scores) - true[out] * scores).sum()) / len(rows)
    # Among choices as good as each other the one that moves weights least.
    towards, ridge = min(losses, key=lambda choice: (round(losses[choice], 6), -choice[1]))
    return Stacked(_pulled(given, true, models[towards](labels), ridge), towards, ridge, losses)


def _pulled(given: Array, true: Array, centre: Array, ridge: float) -> Array:
    """Stretch the weights of the centre as a whole, then let each move from there."""
    (factor,) = fit_logistic((given @ centre)[:, None], true, ridge=SCALE, centre=np.ones(1))
    return fit_logistic(given, true, ridge=ridge * np.maximum((given**2).mean(0), 1e-3) / 4, centre=factor * centre)


def probabilities(frame: Design, coefficients: Array) -> Array:
    """How probable it is that the first answer is better [N]."""
    return sigmoid(frame.matrix @ coefficients)


def frozen(pairs: Pairs, frame: Design, coefficients: Array, method: str, notes: tuple[str, ...]) -> Fusion:
    """The coefficients as a value that is kept; a source that never spoke counts nothing."""
    found: dict[int, dict[str, float]] = {place: {"slope": 0.0} for place in range(len(pairs.names))}
    features, constant = [0.0] * pairs.features.shape[1], 0.0
    for (place, what), value in zip(frame.columns, coefficients.tolist(), strict=True):
        if what == "constant":
            constant = value
        elif what == "feature":
            features[place or 0] = value
        else:
            found[place or 0][what] = value
    weights = {
        name: Weight(kind=pairs.kinds[place], scale=pairs.scales[place], **found[place])
        for place, name in enumerate(pairs.names)
    }
    return Fusion(weights=weights, features=tuple(features), constant=constant, method=method, notes=notes)
