"""The prose in an answer: what a reader would proofread, without code, formulas, addresses, tables and markup."""

from __future__ import annotations

import unicodedata

import regex

MOST = 20_000
"""Characters of an answer that are read; what comes behind is not looked at, and reasons say so."""
LONGEST = 1_000
"""Characters of a paragraph that are looked at together."""
CODE = "`x`"
"""Stands where something was that is no prose, as Markdown for code."""

_INVISIBLE = regex.compile(r"[\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Default_Ignorable_Code_Point}]")
_CONTROL = regex.compile(r"[^\P{Cc}\n\t]")
_BLOCK = regex.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1|\Z)|\$\$.*?\$\$|\\\[.*?\\\]", regex.MULTILINE | regex.DOTALL)
_TABLE = regex.compile(r"^[ \t]*\|.*$", regex.MULTILINE)
_LINK = regex.compile(r"!?\[([^\[\]\n]{0,300})\]\([^()\s]{0,2000}\)")
_TAG = regex.compile(r"</?[A-Za-z][^<>\n]{0,200}>")
_INLINE = regex.compile(
    r"`[^`\n]++`|\\\([^\n]{0,300}?\\\)|\$(?=\S)[^$\n]{1,200}(?<=\S)\$(?!\d)"  # code and formulas
    r"|\b(?:https?://|www\.)\S++|[\w.+-]{1,64}@[\w.-]++|(?<!\w)[@#]\w++"  # addresses and tags
    r"|(?<![\w/])(?:[\w.~-]*+/){2,}[\w.-]*+|\b\w[\w-]*+(?:\.[a-z]\w++)+"  # paths and names with dots
    r"|\b(?=\w*[\d_])(?=\w*[\p{L}_])\w++|\b\p{Ll}++\p{Lu}\w*+"  # identifiers
)
_WORD = regex.compile(r"[\p{L}\p{M}]++(?:['’-][\p{L}\p{M}]++)*+")
_ENDS = regex.compile(r"(?<=[.!?…][\"'”’)\]*_]*)\s+|\n")
_SHORT = regex.compile(
    r"(?:^|[\s(\"“])(?:\p{L}|[Mm]rs?|[Mm]s|[Dd]r|[Pp]rof|[Ss]t|[Jj]r|[Ss]r|vs|etc|e\.g|i\.e|cf|No|approx|(?:\p{L}\.)+\p{L})\.$"
)
_GOES_ON = regex.compile(r"(?:…|\.\.|[\"'”’)])$")
_ITEM = regex.compile(r"[ \t]*(?:[-*+•]|\d+[.)]|#{1,6})[ \t]")


def prose(text: str) -> str:
    """The first `MOST` characters of `text`, each piece that is no prose replaced by `CODE`, or by a blank line.

    Invisible and control characters are gone, and no line is indented.
    """
    text = unicodedata.normalize("NFC", text[:MOST].replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n"))
    text = _CONTROL.sub(" ", _INVISIBLE.sub("", text))
    text = _TABLE.sub("\n", _BLOCK.sub("\n\n", text))
    text = _TAG.sub(" ", _LINK.sub(r"\1", text))
    parts = [_plain(part) for part in _INLINE.split(text)]
    return regex.sub(r"[ \t]*\n[ \t]*", "\n", CODE.join(parts)).strip()


def _plain(text: str) -> str:
    """Without the characters by which Markdown would hide what is behind them."""
    return regex.sub(r"[ \t]+", " ", text.translate(_HIDING))


_HIDING = str.maketrans({"`": "'", "<": " ", ">": " ", "[": " ", "]": " ", "\\": " ", "’": "'"})


def paragraphs(text: str) -> list[str]:
    """The paragraphs of what `prose` returned, long ones cut between words."""
    return [piece for paragraph in regex.split(r"\n{2,}", text) for piece in _pieces(paragraph) if _WORD.search(piece)]


def _pieces(text: str) -> list[str]:
    pieces = []
    while len(text) > LONGEST:
        cut = max(text.rfind(end, LONGEST // 2, LONGEST) + 1 for end in ("\n", ". "))
        cut = cut or text.rfind(" ", 0, LONGEST) + 1 or LONGEST
        pieces.append(text[:cut])
        text = text[cut:]
    return [*pieces, text]


def spelled(text: str) -> list[str]:
    """The words of prose as they are written, in order."""
    return _WORD.findall(text.replace(CODE, " "))


def sentences(text: str) -> list[str]:
    """The sentences of prose that hold a word; a heading and each item of a list is one, a wrapped line is none."""
    found: list[str] = []
    for paragraph in regex.split(r"\n{2,}", text):
        open_ = ""
        for line in paragraph.split("\n"):
            if _ITEM.match(line) or _ITEM.match(open_):
                found, open_ = [*found, open_], line
            else:
                open_ = f"{open_} {line}" if open_ else line
        found.append(open_)
    return [sentence for run in found for sentence in _split(run) if _WORD.search(sentence.replace(CODE, " "))]


def _split(run: str) -> list[str]:
    pieces: list[str] = []
    for piece in _ENDS.split(run):
        end = pieces[-1][-12:] if pieces else ""
        if end and (_SHORT.search(end) or (piece[:1].islower() and _GOES_ON.search(end))):
            pieces[-1] += f" {piece}"
        else:
            pieces.append(piece)
    return pieces
