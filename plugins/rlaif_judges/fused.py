"""Judges weighed by how far each is to be trusted, as `rlaif fuse` has learnt it from comparisons that are trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from rlaif_core import Abstain, ConfigError, DataError, Outcome, Question, Score
from rlaif_core.fusing import Fusion, Kind


@dataclass(frozen=True, slots=True)
class Fused:
    """A fitted fusion, and what it calls the judges of an ensemble, in their order."""

    fusion: Fusion
    sources: tuple[str, ...]

    @classmethod
    def load(cls, file: str, sources: Sequence[str], judges: int) -> Self:
        """The fusion in a file, for so many judges; ConfigError where it does not fit them."""
        if not file:
            raise ConfigError('judge ensemble: sources are names in a fusion; give fusion = "...", or drop them')
        if len(sources) != judges:
            raise ConfigError(
                f"judge ensemble: sources names {len(sources)}, but there are {judges} judges; say in their order what "
                "the fusion calls them"
            )
        try:
            fusion = Fusion.load(file)
            fusion.probability(dict.fromkeys(sources))
        except DataError as error:
            raise ConfigError(f"judge ensemble: {error}") from None
        if fusion.features:
            raise ConfigError(f"judge ensemble: {file!r} was fitted with features of the pairs; fit one without")
        return cls(fusion, tuple(sources))

    def __call__(
        self, question: Question, columns: Sequence[Sequence[Outcome]], combined: Sequence[Outcome]
    ) -> list[Outcome]:
        """What the judges say together of two answers: `columns` has what each says of each answer, `combined` the
        reasons. Exchanging the answers exchanges the sign, whatever the fusion holds."""
        if question.form != "compare":
            why = "a fusion compares two answers; ask for comparisons, or drop fusion"
            return [Abstain(why, outcome.cost) for outcome in combined]
        margins = [_margin(one, other) for one, other in zip(*columns, strict=True)]
        one, other = map(len, question.answers)
        length = (one - other) / max(one + other, 1)
        there, back = self._probability(margins, length), self._probability([_turned(m) for m in margins], -length)
        if there is None or back is None:
            return [Abstain("none of the judges has an opinion", outcome.cost) for outcome in combined]
        value = there - back
        return [
            Score(sign * value, f"fused to {(1 + sign * value) / 2:.2f}; {outcome.reason}", outcome.cost)
            for sign, outcome in zip((1, -1), combined, strict=True)
        ]

    def _probability(self, margins: Sequence[float | None], length: float) -> float | None:
        said = {
            name: None if margin is None else _said(self.fusion.weights[name].kind, margin)
            for name, margin in zip(self.sources, margins, strict=True)
        }
        return self.fusion.probability(said, length=length)


def _margin(one: Outcome, other: Outcome) -> float | None:
    return (one.value - other.value) / 2 if isinstance(one, Score) and isinstance(other, Score) else None


def _turned(margin: float | None) -> float | None:
    return None if margin is None else -margin


def _said(kind: Kind, margin: float) -> float:
    """A margin as the fusion was told of it: a vote, a probability, or a difference of scores."""
    if kind == "score":
        return 2 * margin
    if kind == "vote":
        return 0.5 + 0.5 * ((margin > 0) - (margin < 0))
    return min(max((1 + margin) / 2, 0.0), 1.0)
