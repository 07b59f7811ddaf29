"""In which language a line is written: where a text is not in the language that a reward reads, it has no opinion.

A line is foreign where most of its letters are of another script, or where the frequent words of another language cover
most of it, and a quarter more than those of its own do. What none covers is not foreign: gibberish is no way out.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Literal, get_args

import regex

from rlaif_core import ConfigError
from rlaif_rewards.prose import spelled

Language = Literal["ar", "de", "en", "es", "eu", "fa", "fr", "it", "lv", "nl", "pt", "ru"]
NAMES = {
    "ar": "Arabic", "de": "German", "en": "English", "es": "Spanish", "eu": "Basque", "fa": "Persian", "fr": "French",
    "it": "Italian", "lv": "Latvian", "nl": "Dutch", "pt": "Portuguese", "ru": "Russian",
}  # fmt: skip
FREQUENT = 20_000
"""Words of each language by which it is recognised."""
FEWEST = 3
"""Words below which a line is taken for what it should be: a single word is at home in many languages."""
SURE = 0.8
"""Share of a line's words that are frequent in its language from which on no other is tried."""
AHEAD = 1.25
"""How many times as many words another language must cover."""

_SCRIPTS = {"ar": "Arabic", "fa": "Arabic", "ru": "Cyrillic"}
_LETTERS = {name: regex.compile(rf"\p{{Script={name}}}") for name in ("Arabic", "Cyrillic", "Latin")}


def needs_grammar(whose: str) -> ConfigError:
    """What to raise where the libraries that know languages are not installed."""
    return ConfigError(f"{whose} needs libraries that are not installed; run: pip install 'rlaif-core[grammar]'")


@cache
def dictionary(language: Language) -> Counter[str]:
    """How often each word of `language` occurs in the texts that the list was made of; words are in lower case."""
    from spellchecker import SpellChecker

    return Counter(SpellChecker(language=language).word_frequency.dictionary)


@cache
def _frequent(language: Language) -> frozenset[str]:
    from spellchecker import SpellChecker

    counted = Counter(SpellChecker(language=language).word_frequency.dictionary)
    return frozenset(word for word, _ in counted.most_common(FREQUENT))


def foreign(line: str, language: Language) -> str:
    """What a line of prose is written in where that is not `language`: "German", "another script"; else ""."""
    said = [part for word in spelled(line) for part in regex.split(r"['’-]", word.lower()) if len(part) > 1]
    letters = "".join(said)
    own = len(_LETTERS[_SCRIPTS.get(language, "Latin")].findall(letters))
    if 2 * own < len(letters):
        return "another script"
    at_home = _known(said, language)
    if len(said) < FEWEST or at_home >= SURE * len(said):
        return ""
    others = [other for other in get_args(Language) if _SCRIPTS.get(other) == _SCRIPTS.get(language)]
    best = max(others, key=lambda other: _known(said, other))
    covered = _known(said, best)
    return NAMES[best] if 2 * covered > len(said) and covered > AHEAD * at_home else ""


def _known(said: list[str], language: Language) -> int:
    return sum(word in _frequent(language) for word in said)


def native(text: str, language: Language) -> tuple[str, str]:
    """(the lines of prose that are in `language`, with blank lines for the others; what the others are in, or "")."""
    lines, others = [], Counter[str]()
    for line in text.split("\n"):
        other = foreign(line, language)
        lines.append("" if other else line)
        others[other] += len(spelled(line))
    del others[""]
    return "\n".join(lines), others.most_common(1)[0][0] if others else ""
