"""What rewards count in a text, and when two spellings are one word.

A reward that looks at the surface is the first that a policy learns to cheat, so nothing invisible counts, and letters
that look alike are alike.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Sequence
from typing import Literal

import regex
from torch import Tensor

from rlaif_core import Rollouts

Unit = Literal["tokens", "words", "characters"]

SPACELESS = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
"""Scripts that put no blanks between words: there each letter counts as a word and a word may start anywhere."""
LETTER = rf"[\p{{L}}\p{{M}}\p{{N}}_--{SPACELESS}]"

_WORD = regex.compile(rf"{SPACELESS}\p{{M}}*|{LETTER}+(?:['’]{LETTER}+)*", regex.V1)
_INVISIBLE = regex.compile(r"[\p{Cf}\p{Default_Ignorable_Code_Point}]")
_STRAY_MARKS = regex.compile(r"(?<=\p{Latin})\p{Mn}+")
_LOOKALIKES = str.maketrans("аеорсухіјѕһԁԛԝαοικρ", "aeopcyxijshdqwaoikp")
"""Cyrillic and Greek letters that pass for Latin ones, most of them as capitals too."""


def canonical(text: str) -> str:
    """One spelling for all that read the same: NFKC, case-folded, without invisible characters and stray accents.

    Cyrillic and Greek letters that look Latin become Latin; accents that belong to a letter (é) stay. For comparing
    texts that were both made canonical, never for showing.
    """
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
    text = unicodedata.normalize("NFKC", text.casefold()).translate(_LOOKALIKES)
    return " ".join(_STRAY_MARKS.sub("", text).split())


def words(text: str) -> list[str]:
    """The canonical words of a text, in order."""
    return _WORD.findall(canonical(text))


def characters(text: str) -> list[str]:
    """What a reader would call characters: grapheme clusters, a run of blanks being one, invisible ones none."""
    visible = _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    return regex.findall(r"\X", " ".join(visible.split()))


def split(text: str, unit: Literal["words", "characters"]) -> list[str]:
    """The words or characters of a text."""
    return words(text) if unit == "words" else characters(text)


def counted(rollouts: Rollouts, unit: Unit) -> list[Sequence[Hashable]]:
    """For each answer its tokens (those that the policy chose, the end of sequence too), words or characters.

    The answer is the last one of a conversation.
    """
    if unit == "tokens":
        return [tokens[here].tolist() for tokens, here in zip(rollouts.tokens, last_turn(rollouts.mask), strict=True)]
    return [split(completion, unit) for completion in rollouts.completions]


def last_turn(mask: Tensor) -> Tensor:
    """[B,T] bool: of the chosen tokens those behind the last gap, where somebody else speaks."""
    back = mask.flip(1)
    gaps = (back.cumsum(1) > 0) & ~back
    return (back & (gaps.cumsum(1) == 0)).flip(1)
