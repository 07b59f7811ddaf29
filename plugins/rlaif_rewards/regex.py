"""A pattern that answers should match."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import regex

from rlaif_core import ConfigError, Failed, Outcome, Rollouts, Score

_FUZZY = regex.compile(
    r"(?s)\\[pPN]\{[^}]*\}|\\.|\(\?#[^)]*\)|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]|(?P<braces>\{[\s\d,<=+]*[deis][\s\d,<=+deis]*[:}])"
)
"""What `regex` takes, or may take, for how many errors to allow (`a{e}`, `a{1<=s<=2}`, `a{2i+1d<=4}`), past escapes,
comments and sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Regex:
    r"""How often `pattern` occurs, from 0 to 1: `cap` or more separate, non-empty matches give 1.

    With `full`, 1 where the pattern fits the whole answer and 0 elsewhere. The syntax is that of the `regex` module in
    its version 0: Python's `re`, flags inside the pattern ("(?i)yes"), and besides such as \p{L} and [[:alpha:]]; sets
    within sets only after (?V1). Braces as in a{e}, letters to `re`, would make the match fuzzy and are refused.
    A search that takes longer than `timeout` seconds has failed: it is not a 0.
    """

    pattern: str
    cap: int = 1
    full: bool = False
    timeout: float = 1.0

    def __post_init__(self) -> None:
        if self.cap < 1 or not 0 < self.timeout < math.inf:
            raise ConfigError("regex: cap must be at least 1, and timeout a number of seconds above 0 that has an end")
        if self.full and self.cap > 1:
            raise ConfigError("regex: the whole answer matches once or not at all; drop cap or full")
        if fuzzy := next((found["braces"] for found in _FUZZY.finditer(self.pattern) if found["braces"]), ""):
            raise ConfigError(
                f"regex: {fuzzy!r} in {self.pattern!r} would make the match fuzzy; for these letters write \\{fuzzy}"
            )
        try:
            regex.compile(self.pattern)
        except regex.error as error:
            raise ConfigError(f"regex: {self.pattern!r} is not a pattern: {error}") from None

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        return [self._outcome(completion) for completion in rollouts.completions]

    def _outcome(self, text: str) -> Outcome:
        pattern = regex.compile(self.pattern)
        try:
            if self.full:
                fits = pattern.fullmatch(text, timeout=self.timeout) is not None
                return Score(float(fits), "the whole answer fits" if fits else "the answer as a whole does not fit")
            matches = (match[0] for match in pattern.finditer(text, timeout=self.timeout) if match[0])
            found = list(islice(matches, self.cap))
        except TimeoutError:
            return Failed(f"no answer within {self.timeout:g} s; mend the pattern, which backtracks too much")
        return Score(len(found) / self.cap, f"matches {found}" if found else "no match")
