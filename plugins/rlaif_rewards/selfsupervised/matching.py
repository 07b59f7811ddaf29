"""When two short answers say the same thing, as far as their words tell."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from rlaif_rewards.words import words

Match = Literal["exact", "f1"]
ARTICLES = frozenset({"a", "an", "the"})
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DECIMALS = re.compile(r"(?<!\d)(\d++)\.(\d++)")


def plain_words(text: str) -> tuple[str, ...]:
    """The canonical words of an answer without articles, and numbers in one spelling: 1,000.50 is 1000.5."""
    text = _DECIMALS.sub(_shortest, _THOUSANDS.sub("", text))
    return tuple(word for word in words(text) if word not in ARTICLES)


def _shortest(number: re.Match[str]) -> str:
    decimals = number[2].rstrip("0")
    return f"{number[1]}.{decimals}" if decimals else number[1]


def similarity(one: tuple[str, ...], other: tuple[str, ...], match: Match) -> float:
    """How much two answers agree by their `plain_words`, from 0 to 1; an answer without words agrees with none.

    exact: 1 for the same words in the same order. f1: the harmonic mean of the shares of each that the other has, by
    count (Rajpurkar et al., 2016, SQuAD).
    """
    if not one or not other:
        return 0.0
    if match == "exact":
        return float(one == other)
    shared = (Counter(one) & Counter(other)).total()
    return 2 * shared / (len(one) + len(other))
