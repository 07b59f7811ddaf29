"""How hard a text is to read, by the formulas of readability research, and the band in which it should lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from rlaif_core import Abstain, ConfigError, Outcome, Rollouts, Score
from rlaif_rewards.language import native, needs_grammar
from rlaif_rewards.prose import prose, sentences, spelled
from rlaif_rewards.syllables import syllables

Formula = Literal[
    "flesch_kincaid", "flesch_reading_ease", "gunning_fog", "smog", "coleman_liau", "automated_readability"
]


@dataclass(frozen=True)
class Counts:
    """What the formulas count in the prose of `text`; there is at least one word."""

    text: str

    @cached_property
    def words(self) -> list[str]:
        """The words as they are written."""
        return spelled(self.text)

    @cached_property
    def sentences(self) -> list[list[str]]:
        """The words of each sentence; a heading and an item of a list is one each."""
        return [spelled(sentence) for sentence in sentences(self.text)]

    @cached_property
    def letters(self) -> int:
        """Letters of all words, without hyphens and apostrophes."""
        return sum(character.isalpha() for word in self.words for character in word)

    @cached_property
    def syllables(self) -> int:
        """Syllables of all words."""
        return sum(syllables(word) for word in self.words)

    @property
    def long(self) -> int:
        """Words of three syllables or more."""
        return sum(syllables(word) > 2 for word in self.words)

    @property
    def hard(self) -> int:
        """Long words that are no names and no compounds, and stay long without an ending -es, -ed or -ing."""
        plain = (word for said in self.sentences for word in (said[0].lower(), *said[1:]) if word.islower())
        return sum(syllables(_stem(word)) > 2 for word in plain if "-" not in word)

    @property
    def to_a_sentence(self) -> float:
        """Words a sentence."""
        return len(self.words) / len(self.sentences)

    def a_word(self, count: int) -> float:
        """`count` divided by the number of words."""
        return count / len(self.words)


def _stem(word: str) -> str:
    return next((word.removesuffix(ending) for ending in ("es", "ed", "ing") if word.endswith(ending)), word)


FORMULAS: dict[Formula, tuple[Callable[[Counts], float], str, float]] = {
    "flesch_kincaid": (lambda c: 0.39 * c.to_a_sentence + 11.8 * c.a_word(c.syllables) - 15.59, "grade", 10.0),
    "flesch_reading_ease": (lambda c: 206.835 - 1.015 * c.to_a_sentence - 84.6 * c.a_word(c.syllables), "ease", 50.0),
    "gunning_fog": (lambda c: 0.4 * (c.to_a_sentence + 100 * c.a_word(c.hard)), "grade", 10.0),
    "smog": (lambda c: 1.0430 * math.sqrt(30 * c.long / len(c.sentences)) + 3.1291, "grade", 10.0),
    "coleman_liau": (lambda c: 5.88 * c.a_word(c.letters) - 29.6 / c.to_a_sentence - 15.8, "grade", 10.0),
    "automated_readability": (lambda c: 4.71 * c.a_word(c.letters) + 0.5 * c.to_a_sentence - 21.43, "grade", 10.0),
}
"""Each formula, what it gives, and how far outside the band costs 1."""


class Readability:
    """Penalty for a text that is too hard or too easy: 0 where `formula` is from `min` to `max`, else the distance to
    that band over 10 grades (50 points of reading ease), down to -1. One limit may be left out.

    Years of American school: "flesch_kincaid" (Kincaid et al., 1975), "gunning_fog" (Gunning, 1952), "smog"
    (McLaughlin, 1969), "coleman_liau" (Coleman and Liau, 1975), "automated_readability" (Smith and Senter, 1967).
    "flesch_reading_ease" (Flesch, 1948) is about 100 for very easy and 0 for very hard texts.
    Code, formulas, addresses and tables are not read; a heading and each item of a list is a sentence. The formulas are
    made for English: lines in another language (see `grammar`) are left out. Below `least` words there is no opinion,
    for such texts have no readability; a hundred are needed for a stable one. All formulas look at the surface only.
    """

    def __init__(
        self,
        formula: Formula = "flesch_kincaid",
        min: float | None = None,  # noqa: A002  the words of `length`
        max: float | None = None,  # noqa: A002
        least: int = 10,
    ) -> None:
        if min is None and max is None:
            raise ConfigError("readability: give min, max, or both")
        if not all(math.isfinite(limit) for limit in (min, max) if limit is not None):
            raise ConfigError(f"readability: min is {min} and max {max}, but a limit must be a finite number")
        if min is not None and max is not None and min > max:
            raise ConfigError(f"readability: min {min:g} is above max {max:g}")
        if least < 1:
            raise ConfigError(f"readability: least is {least}, but must be at least 1 word")
        try:
            import spellchecker  # noqa: F401  languages are told apart by it
        except ImportError:
            raise needs_grammar("readability") from None
        self.formula, self.least = formula, least
        self.low, self.high = -math.inf if min is None else min, math.inf if max is None else max

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        return [self._outcome(completion) for completion in rollouts.completions]

    def _outcome(self, completion: str) -> Outcome:
        text, other = native(prose(completion), "en")
        counts = Counts(text)
        if len(counts.words) < self.least:
            left = f"; it is in {other}" if other else ""
            return Abstain(f"{len(counts.words)} words of English are too few for a readability{left}")
        compute, what, unit = FORMULAS[self.formula]
        found = compute(counts)
        beyond = self.low - found if found < self.low else found - self.high if found > self.high else 0.0
        said = f"{self.formula} {what} {found:.1f}"
        if not beyond:
            return Score(0.0, f"{said}, as wanted")
        wanted = f"above the wanted {self.high:g}" if found > self.high else f"below the wanted {self.low:g}"
        return Score(-beyond / unit if beyond < unit else -1.0, f"{said}, {wanted}")
