"""Errors in prose, as well-kept libraries find them: Harper for English, lists of words for other languages.

Harper has some nine hundred rules. Those that were wrong more often than right on what people wrote, and those that are
a matter of taste, are off.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import regex

from rlaif_rewards.language import dictionary
from rlaif_rewards.prose import CODE, spelled

Kind = Literal["spelling", "grammar", "punctuation", "capitals", "style"]
Tongue = Literal[
    "en", "en-US", "en-GB", "en-AU", "en-CA", "en-IN", "ar", "de", "es", "eu", "fa", "fr", "it", "lv", "nl", "pt", "ru"
]
"""What can be checked; of English, "en" is what is right in any dialect."""

_KINDS: dict[str, Kind] = {
    "Spelling": "spelling",
    "Capitalization": "capitals",
    "Punctuation": "punctuation",
    "Formatting": "punctuation",
    **dict.fromkeys(("Enhancement", "Readability", "Redundancy", "Regionalism", "Style"), "style"),
}
"""Harper's kinds; all others are grammar, and so is an apostrophe that these lack, which it takes for other things."""
_GRAMMAR = frozenset({"cant", "its"})

_OFF = frozenset(
    """AdjectiveDoubleDegree AsHow AvoidCurses BluRayHyphen CompoundNouns Dashes DiscourseMarkers
    DisjointPrefixes Everyone Excellent ExpandMemoryShorthands ExpandTimeShorthands FillerWords FindOut HowTo
    InflectedVerbAfterTo ItsPossessive LetsConfusion Lifetime LongSentences LongTimeAgo LookingForwardTo
    MassNouns MergeWords MissingPreposition MissingTo ModalBeAdjective NoFrenchSpaces NounVerbConfusion
    NumericRangeEnDash OkToOkay OneOfTheSingular OrthographicConsistency OxfordComma PhrasalVerbAsCompoundNoun
    PluralDecades PossessiveYour ProgressiveNeedsBe PronounInflectionBe PronounKnew QuantifierNeedsOf
    QuiteQuiet RedundantThat RegularIrregulars RoadMap SingleBe SplitWords SubjunctiveWasToWere ThatThan The
    TheirToThere TheirToTheyre ThereToTheir TheyToThem ToTwoToo TransposedSpace UpdatePlaceNames
    UseEllipsisCharacter WereWhere Worldwide WrongNegative YeaToYeah""".split()
)
"""Rules that are off: imprecise ones, and tastes. LookingForwardTo also prints its thoughts to the standard output."""

_PAST = frozenset("beat bet bid burst cast cost cut fit hit hurt let put quit read rid set shed shut spread".split())
"""Verbs whose past is their stem: 'he beat them' agrees."""
_CLIPPED = regex.compile(r"(?i)(?:.*n't|(?:i|you|we|they|he|she|it|that|there|what|who|here|let)'(?:s|re|ve|ll|d|m))$")
"""Contractions, which stay errors without their apostrophe even where they begin with a capital."""
_ACRONYM = regex.compile(r"\p{Lu}+'?s?\.?")
_JOINT = regex.compile(r"['’./-]")
_OPENS = regex.compile(r"(?:^|[.!?:…\n][\"'“”‘(*_]*\s*)(?:[-*+•#]+\s+|\d+[.)]\s+|[\"'“”‘(*_]+)*$")
SHOUTED = 0.6
"""Share of words that begin with a capital from which on capitals say nothing (a headline, shouting)."""
ACRONYM = 5
"""Letters up to which a word in capitals is an acronym."""
RARE = 0.05
"""Share of words that may be in no dictionary without resembling any: terms. What is beyond is gibberish."""


@dataclass(frozen=True, slots=True)
class Error:
    """What is wrong, and what might be meant ("" where nobody knows). `rare`: it is in no dictionary and like nothing
    there, and may be a term."""

    kind: Kind
    text: str
    meant: str = ""
    rare: bool = False

    def __str__(self) -> str:
        said = repr(" ".join(self.text.split()))
        return f"{said} ({self.meant}?)" if self.meant else said


Proofreader = Callable[[str, Collection[str]], Iterator[Error]]
"""What finds the errors in a paragraph of prose; words (in lower case) in the collection are spelled well."""


def proofreader(language: Tongue, kinds: Collection[Kind]) -> Proofreader:
    """Who finds errors of `kinds` in `language`; ImportError where the libraries are missing."""
    if language[:2] == "en":
        return _english(language, frozenset(kinds))
    words = dictionary(language)
    return lambda text, known: _misspelled(text, known, words)


def counted(errors: Iterable[Error], words: int) -> list[Error]:
    """The errors that count in a text of so many words: rare words only where there are more than `RARE` of them."""
    found = list(errors)
    terms = math.ceil(RARE * words) if words >= 5 else 0
    return found if sum(error.rare for error in found) > terms else [error for error in found if not error.rare]


def _misspelled(text: str, known: Collection[str], words: Counter[str]) -> Iterator[Error]:
    shouted = _shouted(text)
    for word in spelled(text):
        plain = word.lower()
        parts = [part for part in _JOINT.split(plain) if len(part) > 2]
        if plain in words or plain in known or all(part in words for part in parts):
            continue
        if shouted or not word[:1].isupper():
            meant = _slip(plain, words)
            yield Error("spelling", word, meant, rare=not meant)


def _shouted(text: str) -> bool:
    words = spelled(text)
    return len(words) > 3 and sum(word[0].isupper() for word in words) > SHOUTED * len(words)


@cache
def _linter(dialect: int, spelling: bool = False) -> Any:
    """A linter with all rules that are not off, or with that of spelling only."""
    from harper import Linter

    linter = Linter(dialect)
    rules = linter.get_default_lint_config().items()
    linter.set_lint_config({name: name == "SpellCheck" if spelling else on and name not in _OFF for name, on in rules})
    return linter


@cache
def _english(language: Tongue, kinds: frozenset[Kind]) -> Proofreader:
    """English in one dialect, or as it is right in any."""
    from harper import Dialect as Spoken

    spoken = _spoken(Spoken)[language]
    others = [_linter(Spoken.BRITISH, True)] if language == "en" else []

    def find(text: str, known: Collection[str]) -> Iterator[Error]:
        shouted = _shouted(text)
        for lint in _linter(spoken).lint(text):
            said, start = lint.problem_text, lint.span.start
            meant = [suggestion.replacement_text for suggestion in lint.suggestions]
            kind = "grammar" if said.lower() in _GRAMMAR else _KINDS.get(lint.lint_kind, "grammar")
            rare = False
            if kind == "spelling" and " " not in said:  # else it is about a phrase
                if any(said.lower() == other.lower() for other in meant) or _capital(said, spoken):
                    kind = "capitals"
                elif _is_well(said, meant, text[:start], known, shouted) or any(not its.lint(said) for its in others):
                    continue
                else:
                    meant = _resembles(said.lower(), meant)
                    rare = not meant
            elif kind == "grammar" and (meant in ([], ["AN"]) or _doubtful(said, text, lint.span)):  # A is a label
                continue
            if kind in kinds:
                yield Error(kind, said, meant[0].strip() if meant else "", rare)

    return find


def _spoken(spoken: Any) -> dict[str, Any]:
    return {
        "en": spoken.AMERICAN,
        "en-US": spoken.AMERICAN,
        "en-GB": spoken.BRITISH,
        "en-AU": spoken.AUSTRALIAN,
        "en-CA": spoken.CANADIAN,
        "en-IN": spoken.INDIAN,
    }


def _is_well(word: str, meant: list[str], before: str, known: Collection[str], shouted: bool) -> bool:
    """Whether a word that no dictionary has is no error: somebody's name, an acronym, or known from elsewhere."""
    plain = word.lower().removesuffix("'s")
    if plain in known or plain.rstrip("s") in known or len(word.strip(".")) < 2:
        return True
    if _clipped(plain, meant):
        return False
    parts = [part for part in _JOINT.split(plain) if part]
    if len(parts) > 1 and not any(_linter(0, True).lint(part) for part in parts if len(part) > 2):
        return True
    if shouted or not word[0].isupper():
        return False
    if _ACRONYM.fullmatch(word):
        return len(word) <= ACRONYM
    return not _OPENS.search(before) or not _slip(plain, dictionary("en"))


def _capital(word: str, dialect: int) -> bool:
    """Whether a word that is not known in small letters is with capitals."""
    return word.islower() and not all(_linter(dialect, True).lint(other) for other in (word.title(), word.upper()))


def _clipped(word: str, meant: list[str]) -> bool:
    return any(_CLIPPED.match(other) and other.replace("'", "").lower() == word for other in meant)


def _resembles(word: str, meant: list[str]) -> list[str]:
    """What of `meant` is so close to `word` that it is what was meant, and frequent enough."""
    if _clipped(word, meant):
        return [other for other in meant if "'" in other]
    frequent = dictionary("en")
    near = [other for other in meant if frequent[other.lower()] >= FREQUENT and len(word) > 3]
    allowed = 1 + (len(word) > 10)
    close = [other for other in near if _distance(word, other.lower()) <= allowed]
    close.sort(key=lambda other: -frequent[other.lower()])
    return close or [other for other in [_slip(word, frequent)] if other]


FREQUENT = 50
"""Occurrences in the texts behind a list of words from which on a word is what somebody may have meant."""


def _distance(one: str, other: str) -> int:
    """How many letters to insert, leave out, replace, or swap with their neighbour make one word of the other (optimal
    string alignment; Damerau, 1964, A technique for computer detection and correction of spelling errors)."""
    before, last = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        row = [i]
        for j, its in enumerate(other, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != its))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == its:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def _slip(word: str, frequent: Counter[str]) -> str:
    """The frequent word of which `word` is a slip of the fingers: two letters swapped, or one too many; else ""."""
    found = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1) if len(word) > 2]
    if len(word) > 4:
        found += [word[:i] + word[i + 1 :] for i in range(len(word))]
    best = max(found, key=lambda other: frequent[other], default="")
    return best if frequent[best] >= 4 * FREQUENT else ""


def _doubtful(said: str, text: str, span: Any) -> bool:
    """Whether a rule about grammar has no ground: it is at what is no prose, or a stem is a past."""
    around = text[max(span.start - len(CODE) - 1, 0) : span.end + len(CODE) + 1]
    return CODE in around or said.lower() in _PAST
