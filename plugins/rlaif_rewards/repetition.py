"""Saying the same thing again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from rlaif_core import ConfigError, Outcome, Rollouts, Score
from rlaif_rewards.words import Unit, counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """Penalty -(1 - distinct n-grams / n-grams) for runs of `n` units that occur more than once: above -1, at most 0.

    An answer shorter than `n` repeats nothing. `unit` is "words", "tokens" or "characters" (rep-n of Welleck et al.,
    2020, Neural text generation with unlikelihood training).
    """

    n: int = 3
    unit: Unit = "words"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"repetition: n is {self.n}, but must be at least 1")

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        return [self._outcome(items) for items in counted(rollouts, self.unit)]

    def _outcome(self, items: Sequence[Hashable]) -> Score:
        grams = Counter(tuple(items[start : start + self.n]) for start in range(len(items) - self.n + 1))
        total = grams.total()
        if total == len(grams):
            return Score(0.0, f"none of {total} runs of {self.n} {self.unit} repeats")
        run, times = grams.most_common(1)[0]
        repeated = total - len(grams)
        example = f"{' '.join(str(item) for item in run)!r} {times} times"
        return Score(-repeated / total, f"{repeated} of {total} runs of {self.n} {self.unit} repeat: {example}")
