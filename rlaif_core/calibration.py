"""Probabilities that mean what they say: calibrators, which are values fitted once and kept as JSON, and how far off.

A calibrator takes probabilities and gives probabilities. A symmetric one keeps those of a pair in both orders
complementary: it maps 1 - p to 1 minus what it maps p to. Outcomes are 0 or 1, or shares in between (a tie is 0.5).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from rlaif_core.errors import DataError
from rlaif_core.logistic import Array, finite, fit_logistic, logit, probabilities_of, sigmoid

SURE = float(np.finfo(np.float64).eps)
"""The negative log-likelihood keeps so far from 0 and 1, as in scikit-learn: one outcome costs 36 at most."""
PULL = 1e-6
"""Curvature that keeps what the data do not determine where it was: probabilities as they came."""
LARGEST_SCALE = 100.0
"""The temperature that is fitted lies between this and its inverse; without errors it would be 0."""


@dataclass(frozen=True, slots=True)
class Platt:
    """p -> sigmoid(slope * logit(p) + intercept) (Platt 1999); without an intercept it is symmetric."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, probabilities: ArrayLike) -> Array:
        """Calibrated probabilities, of the same shape."""
        return sigmoid(self.slope * logit(probabilities) + self.intercept)

    def to_json(self) -> str:
        """A text that `of_json` reads."""
        return json.dumps({"kind": "platt", **asdict(self)})


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Linear between the points (`inputs`, `outputs`), both ascending, and constant beyond the first and last."""

    inputs: tuple[float, ...]
    outputs: tuple[float, ...]
    symmetric: bool = False

    def __post_init__(self) -> None:
        points = (probabilities_of(self.inputs), probabilities_of(self.outputs))
        if (
            not self.inputs
            or len(self.inputs) != len(self.outputs)
            or any((np.diff(axis) < 0).any() for axis in points)
        ):
            raise DataError("an isotonic calibrator needs as many outputs as inputs, one or more, both ascending")
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "outputs", tuple(self.outputs))

    def __call__(self, probabilities: ArrayLike) -> Array:
        """Calibrated probabilities, of the same shape."""
        given = probabilities_of(probabilities)
        found = np.interp(given, self.inputs, self.outputs)
        return (found + 1 - np.interp(1 - given, self.inputs, self.outputs)) / 2 if self.symmetric else found

    def to_json(self) -> str:
        """A text that `of_json` reads."""
        return json.dumps({"kind": "isotonic", **asdict(self)})


@dataclass(frozen=True, slots=True)
class Temperature:
    """logits [..., K] -> softmax(logits / temperature) (Guo et al. 2017); never changes which is the likeliest."""

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < np.inf:
            raise DataError(f"a temperature is {self.temperature}, but must be positive")

    def __call__(self, logits: ArrayLike) -> Array:
        """Probabilities [..., K] of the K classes."""
        return np.exp(_log_softmax(finite("logits", logits) / self.temperature))

    def to_json(self) -> str:
        """A text that `of_json` reads."""
        return json.dumps({"kind": "temperature", **asdict(self)})


Calibrator = Platt | Isotonic
KINDS: dict[str, type[Platt | Isotonic | Temperature]] = {
    "platt": Platt,
    "isotonic": Isotonic,
    "temperature": Temperature,
}


def of_json(text: str) -> Platt | Isotonic | Temperature:
    """The calibrator that `to_json` wrote down; a text that is none raises DataError."""
    try:
        fields = json.loads(text)
        kind = KINDS[fields.pop("kind")]
        numbers = {name: _number(value) for name, value in fields.items()}
        return kind(**numbers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"this is no calibrator: {error!r}; it must be what to_json wrote") from None


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_number(item) for item in value)
    if isinstance(value, bool):
        return value
    if not np.isfinite(value):
        raise ValueError(f"{value} is no finite number")
    return float(value)


# ---- fitting ----


def fit_calibrator(
    probabilities: ArrayLike,
    outcomes: ArrayLike,
    *,
    kind: Literal["platt", "isotonic"] = "platt",
    symmetric: bool = False,
) -> Calibrator:
    """The calibrator under which `outcomes` [n] are most likely, given what was said, `probabilities` [n].

    "platt" has two numbers (one if symmetric) and does with tens of outcomes, "isotonic" follows any ascending curve
    and wants hundreds. Both keep away from 0 and 1 by as much as n outcomes warrant, so that one class alone or a
    flawless source is fine; where all probabilities are the same, only their level is moved. Nothing to fit raises
    DataError.
    """
    said, true = _paired(probabilities, outcomes)
    if symmetric:
        said, true = np.concatenate([said, 1 - said]), np.concatenate([true, 1 - true])
    if kind == "platt":
        features = logit(said)[:, None] if symmetric else np.stack([logit(said), np.ones_like(said)], 1)
        start = np.array([1.0, 0.0][: features.shape[1]])
        return Platt(*map(float, fit_logistic(features, _smoothed(true), ridge=PULL, centre=start)))
    from sklearn.isotonic import IsotonicRegression

    least = 1 / (len(true) + 2)
    fitted = IsotonicRegression(y_min=least, y_max=1 - least).fit(said, true)
    return Isotonic(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()), symmetric)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> Temperature:
    """The temperature at which `labels` [n] (numbers of classes) are likeliest under `logits` [n, K]."""
    scores, labels = finite("logits", logits), np.asarray(labels)
    if scores.ndim != 2 or not len(scores) or labels.shape != scores.shape[:1]:
        raise DataError(
            f"logits {scores.shape} and labels {labels.shape} do not fit; give [n, K] and [n], n at least 1"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise DataError(f"labels must be whole numbers from 0 to {scores.shape[1] - 1}")
    if np.ptp(scores, axis=1).max() == 0:
        return Temperature()  # all the same, at any temperature
    chosen = scores[np.arange(len(labels)), labels]

    def slope(scale: float) -> float:
        """Derivative of the loss by the inverse temperature; it rises, for its own derivative is a variance."""
        return float(((np.exp(_log_softmax(scores * scale)) * scores).sum(1) - chosen).sum())

    low, high = -np.log(LARGEST_SCALE), np.log(LARGEST_SCALE)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(np.exp(middle)) < 0 else (low, middle)
    return Temperature(float(np.exp(-(low + high) / 2)))


def _smoothed(outcomes: Array) -> Array:
    """Platt's targets: not 0 and 1, but what is expected of another outcome of its class, seen so many times."""
    wins = outcomes.sum()
    losses = len(outcomes) - wins
    targets: Array = outcomes * (wins + 1) / (wins + 2) + (1 - outcomes) / (losses + 2)
    return targets


# ---- measuring ----


@dataclass(frozen=True, slots=True)
class Bin:
    """A row of a reliability table: `count` probabilities in (low, high], their mean, and how many came true."""

    low: float
    high: float
    predicted: float
    observed: float
    count: int


def brier(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """Mean squared difference of probability and outcome, from 0 to 1 (Brier 1950); 0.25 for always saying 0.5."""
    said, true = _paired(probabilities, outcomes)
    return float(((said - true) ** 2).mean())


def negative_log_likelihood(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """Mean of -log of the probability that was given to what came true, in nats; 0.693 for always saying 0.5."""
    said, true = _paired(probabilities, outcomes)
    said = said.clip(SURE, 1 - SURE)
    return float(-(true * np.log(said) + (1 - true) * np.log1p(-said)).mean())


def reliability(
    probabilities: ArrayLike, outcomes: ArrayLike, *, bins: int = 10, equal: Literal["width", "mass"] = "width"
) -> tuple[Bin, ...]:
    """What was said against what came true, in `bins` of equal width, or of (nearly) equal mass; empty ones left out.

    Equal probabilities always share a bin, so that bins of equal mass may be fewer and unequal where many are tied.
    """
    said, true = _paired(probabilities, outcomes)
    if bins < 1:
        raise DataError(f"a reliability table of {bins} bins; give 1 or more")
    edges = np.linspace(0, 1, bins + 1)
    if equal == "mass":
        edges = np.quantile(said, edges)
    places = np.searchsorted(edges[1:-1], said)
    rows = [(low, high, places == place) for place, (low, high) in enumerate(pairwise(edges.tolist()))]
    return tuple(
        Bin(low, high, float(said[its].mean()), float(true[its].mean()), int(its.sum()))
        for low, high, its in rows
        if its.any()
    )


def calibration_error(
    probabilities: ArrayLike, outcomes: ArrayLike, *, bins: int = 10, equal: Literal["width", "mass"] = "width"
) -> float:
    """Expected calibration error, from 0 to 1: the gap between said and come true, over the bins of `reliability`
    (Naeini et al. 2015; with equal mass Nguyen and O'Connor 2015). It is biased upwards where bins hold few."""
    table = reliability(probabilities, outcomes, bins=bins, equal=equal)
    return sum(row.count * abs(row.predicted - row.observed) for row in table) / sum(row.count for row in table)


def _log_softmax(logits: Array) -> Array:
    shifted: Array = logits - logits.max(-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(-1, keepdims=True))
    return shifted


def _paired(probabilities: ArrayLike, outcomes: ArrayLike) -> tuple[Array, Array]:
    said, true = probabilities_of(probabilities), probabilities_of(outcomes, "outcomes")
    if said.shape != true.shape or said.ndim != 1:
        raise DataError(f"probabilities {said.shape} stand against outcomes {true.shape}; give [n] and [n]")
    if not len(said):
        raise DataError("there are no probabilities to go by; give at least one with its outcome")
    return said, true
