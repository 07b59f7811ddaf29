"""How sure an answer says it is, read strictly, and what that is worth: proper scores that stay between -1 and 0.

A confidence is a probability. What is no number from 0 to 1, or could be meant as a fraction as well as in percent, is
not guessed at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import regex

from rlaif_core import ConfigError
from rlaif_rewards.words import LETTER, canonical

Rule = Literal["brier", "spherical"]
Unit = Literal["fraction", "percent"]
_DIGITS = regex.compile(r"(\d{1,9}(?:\.\d{1,30})?|\.\d{1,30})\s?(%?)", regex.ASCII)


@dataclass(frozen=True, slots=True)
class Stated:
    """The confidence that a text states, from 0 to 1, and the text without that statement."""

    confidence: float
    rest: str


def stated(text: str, *, tag: str = "confidence", unit: Unit = "fraction") -> Stated | str:
    """The confidence inside <tag>..</tag>, or a complaint.

    It is given once, as digits: from 0 to 1 as a fraction, from 0 to 100 in percent, which a % sign always means. "70"
    is no fraction, "nan" and "1e-1" are no digits, and two statements are none.
    """
    opening, closing = f"<{tag}>", f"</{tag}>"
    if text.count(opening) != 1 or text.count(closing) != 1:
        return f"states its confidence {text.count(opening)} times, not once in {opening}..{closing}"
    before, _, behind = text.partition(opening)
    inside, closed, after = behind.partition(closing)
    if not closed:
        return f"{closing} stands before {opening}"
    found = _DIGITS.fullmatch(inside.strip())
    if found is None:
        return f"the confidence {inside.strip()[:40]!r} is no plain number"
    value = float(found[1]) / (100 if found[2] or unit == "percent" else 1)
    if not 0 <= value <= 1:
        return f"the confidence {inside.strip()!r} is outside of 0 to 1"
    return Stated(value, f"{before}{after}")


def in_words(text: str, table: Mapping[str, float]) -> Stated | str:
    """The confidence of the one phrase of `table` ("i think" -> 0.7) that occurs in `text`, or a complaint.

    Phrases are found as whole words, longer ones first, so that "not sure" is not "sure". The rest is canonical.
    """
    rest, said = canonical(text), []
    for phrase in sorted(table, key=len, reverse=True):
        pattern = rf"(?<!{LETTER}){regex.escape(canonical(phrase))}(?!{LETTER})"
        shorter, times = regex.subn(pattern, " ", rest, flags=regex.V1)
        if times:
            rest = shorter
            said.append(phrase)
    values = {table[phrase] for phrase in said}
    if len(values) != 1:
        return f"says {' and '.join(map(repr, said))}" if said else "says in no known words how sure it is"
    return Stated(values.pop(), " ".join(rest.split()))


def checked_table(table: Mapping[str, float]) -> dict[str, float]:
    """`table`, or a ConfigError where a phrase is empty or its confidence no probability."""
    for phrase, value in table.items():
        if not canonical(phrase) or not 0 <= value <= 1:
            raise ConfigError(f"words: {phrase!r} means {value}; give visible phrases, each with a number from 0 to 1")
    return dict(table)


def proper_score(confidence: float, correct: bool, rule: Rule = "brier") -> float:
    """A strictly proper score of `confidence` from -1 (certain and wrong) to 0 (certain and right).

    "brier" is -(q - c)^2 (Brier, 1950), "spherical" p/sqrt(q^2 + (1-q)^2) - 1 with p the probability given to what came
    true (Gneiting & Raftery, 2007).
    """
    if rule == "brier":
        return -((confidence - correct) ** 2)
    true = confidence if correct else 1 - confidence
    return true / math.hypot(confidence, 1 - confidence) - 1


def calibrated_value(confidence: float, correct: bool, rule: Rule = "brier", weight: float = 1.0) -> float:
    """1[correct] + weight * `proper_score`: from -weight to 1 (RLCR, Damani et al., 2025).

    With weight 1 and the Brier score the expectation at accuracy p and honest confidence is p^2, so that a better
    answer is always worth more.
    """
    return correct + weight * proper_score(confidence, correct, rule)
