"""A text into its sentences, by a rule that can be stated, so that what counts as one claim is no mystery."""

from __future__ import annotations

import regex

_END = regex.compile(r"[.!?…]+[\"'”’»)\]]*(?=\s|$)|[。！？]+[”」』]*|[\n\r\u2028\u2029]+")
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st sr jr vs etc ca cf no vol fig approx inc ltd co jan feb mar apr jun jul aug sep sept oct nov "
    "dec".split()
)
_MARKER = regex.compile(r"^\s*(?:[-*•#>]+|\(?\d{1,3}[.)])(?:\s+|$)")
_LONGEST = 12
"""Characters of the longest abbreviation, and what stands before it."""


def sentences(text: str) -> list[str]:
    """The sentences of `text` in order, without blanks around and list markers before them.

    One ends at . ! ? … before a blank, at 。！？, and with the line; not behind a single letter or a usual abbreviation
    ("Dr.", "e.g.", "U.S."). What holds neither a letter nor a digit is none.
    """
    found, start = [], 0
    for end in _END.finditer(text):
        if end[0] == "." and _abbreviated(text[max(start, end.start() - _LONGEST) : end.start()]):
            continue
        found.append(text[start : end.end()])
        start = end.end()
    found.append(text[start:])
    bare = (_MARKER.sub("", sentence).strip() for sentence in found)
    return [sentence for sentence in bare if any(character.isalnum() for character in sentence)]


def _abbreviated(before: str) -> bool:
    """Whether a single dot behind this ends a word and no sentence."""
    *_, word = before.split() or [""]
    parts = word.lstrip("(\"'“‘").lower().split(".")
    return parts[-1] in _ABBREVIATIONS or all(len(part) == 1 and part.isalpha() for part in parts)
