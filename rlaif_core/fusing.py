"""A fitted fusion of sources: a value that turns what several sources say about a pair into one probability.

Each source brings evidence, in log-odds that the first answer is the better one; they are added up. A fusion is kept as
JSON: whoever fitted it and whoever asks it (a judge that asks judges) need nothing of each other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from rlaif_core.errors import DataError, suggest
from rlaif_core.files import write_bytes
from rlaif_core.logistic import Array, finite, logit, probabilities_of, sigmoid

Kind = Literal["vote", "probability", "score"]
"""What a source says of a pair: a vote for the first (1), the second (0) or neither (0.5); the probability that the
first is better; or by how much it scores the first above the second."""

EDGE = 0.01
"""No probability or score counts for more than one of 0.99 does."""


def evidence(kind: Kind, said: ArrayLike, scale: float = 1.0) -> Array:
    """What sources of a kind said, as numbers that are 0 for neither and change sign with the order of the answers.

    Votes become -1, 0 and 1, probabilities log-odds, scores are divided by their `scale`; the latter two within 4.6.
    """
    if kind == "vote":
        votes: Array = 2 * probabilities_of(said, "votes") - 1
        return votes
    if kind == "probability":
        return logit(said, EDGE)
    limit = float(logit(1 - EDGE))
    return np.clip(finite("scores", said) / scale, -limit, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What a source's word counts: slope * evidence + offset + position * (1 where it was shown the first answer first,
    -1 where last) + length * (how much longer the first answer is, from -1 to 1), in log-odds."""

    kind: Kind = "probability"
    slope: float = 1.0
    offset: float = 0.0
    position: float = 0.0
    length: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise DataError(f"a source's kind is {self.kind!r}, but must be one of {', '.join(get_args(Kind))}")
        numbers = (self.slope, self.offset, self.position, self.length, self.scale)
        if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers) or self.scale <= 0:
            raise DataError(f"the weight of a source must be finite numbers, its scale positive: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fusion:
    """The weight of every source, of features of the pair where there are any, and a constant; log-odds all of them."""

    weights: Mapping[str, Weight]
    features: tuple[float, ...] = ()
    constant: float = 0.0
    method: str = ""
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not all(math.isfinite(number) for number in (*self.features, self.constant)):
            raise DataError("a fusion holds a number that is not finite")
        object.__setattr__(self, "weights", MappingProxyType(dict(self.weights)))
        object.__setattr__(self, "features", tuple(self.features))
        object.__setattr__(self, "notes", tuple(self.notes))

    def probability(
        self,
        said: Mapping[str, float | None],
        *,
        positions: Mapping[str, float] = MappingProxyType({}),
        length: float = 0.0,
        features: Sequence[float] | None = None,
    ) -> float | None:
        """How probable it is that the first answer is the better one; None where there is nothing to go by.

        `said` is what each source said, None or left out where nothing; `positions` 1 where the source was shown the
        first answer first, -1 where last; `length` (first - second) / (first + second) of their lengths; `features`
        as many as were fitted, or None. A source that was not fitted raises DataError.
        """
        for name in said:
            if name not in self.weights:
                known = ", ".join(self.weights)
                raise DataError(f"no source {name!r} was fitted{suggest(name, self.weights) or '.'} Sources: {known}")
        heard = {name: value for name, value in said.items() if value is not None}
        if not heard and not features:
            return None
        odds = self.constant
        if features is not None:
            if len(features) != len(self.features):
                raise DataError(f"{len(features)} features of a pair were given, but {len(self.features)} fitted")
            odds += float(finite("features", features) @ np.array(self.features)) if self.features else 0.0
        for name, value in heard.items():
            its = self.weights[name]
            odds += its.slope * float(evidence(its.kind, value, its.scale)) + its.offset
            odds += its.position * positions.get(name, 0.0) + its.length * length
        return float(sigmoid(odds))

    def to_json(self) -> str:
        """A text that `of_json` reads."""
        weights = {name: asdict(weight) for name, weight in self.weights.items()}
        fields = {"features": self.features, "constant": self.constant, "method": self.method, "notes": self.notes}
        return json.dumps({"format": 1, "weights": weights, **fields}, indent=1, ensure_ascii=True)

    @classmethod
    def of_json(cls, text: str) -> Fusion:
        """The fusion that `to_json` wrote down; a text that is none raises DataError."""
        try:
            fields: dict[str, Any] = json.loads(text)
            if fields.pop("format") != 1:
                raise ValueError("it is of another version")
            weights = {name: Weight(**its) for name, its in fields.pop("weights").items()}
            return cls(weights=weights, **fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"this is no fusion: {error}; it must be a fusion.json that rlaif fuse wrote") from None

    def save(self, path: str | Path) -> None:
        """Write the fusion to a file."""
        write_bytes(Path(path), self.to_json().encode())

    @classmethod
    def load(cls, path: str | Path) -> Fusion:
        """The fusion in a file; DataError where there is none."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read ({error}); give a fusion.json that rlaif fuse wrote") from None
        return cls.of_json(text)
