"""Showing a judge texts that were written by somebody who wants a good verdict.

Each text stands between marks that hold a nonce. The nonce is made of everything that is shown, so that no text can
contain its own: whoever writes one would have to find a fixed point of a hash. What a reader would not see is left out
and counted, what would be a control token to some model is respelt, and what is too long is cut in the middle.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

import regex

from rlaif_core import FeedbackError

NONCE = 12
"""Hexadecimal digits of a nonce."""

_CONTROL = regex.compile(
    r"<(?=\||/?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|SYS)>|<?/?SYS>>)"  # <|im_start|>, </s>, <<SYS>>
    r"|(?<=\|)>"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])",
    regex.IGNORECASE,
)
"""Where the control tokens of the usual chat templates begin, or end."""
_PLAIN = {"<": "‹", ">": "›", "[": "⟦"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A text as the judge reads it, and how many of its characters were left out."""

    text: str
    cut: int = 0


def inert(text: str) -> str:
    """`text` as a reader sees it, who cannot be steered: without invisible, direction-turning and control characters
    (how many there were is said at its end), and with no control token of a template.

    Line ends and tabs stay; a lone half of a surrogate pair becomes a replacement character.
    """
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    seen = text if text.isascii() and text.isprintable() else "".join(c for c in text if not _hidden(c))
    if hidden := len(text) - len(seen):
        seen += f"\n[{hidden} invisible characters are left out]"
    return _CONTROL.sub(lambda found: _PLAIN[found[0]], seen)


def _hidden(character: str) -> bool:
    if character in "\n\t" or (character.isascii() and character.isprintable()):
        return False
    kind = unicodedata.category(character)
    # Tags, variation selectors and fillers, too, are drawn as nothing.
    return kind in ("Cc", "Cf", "Co", "Zl", "Zp") or bool(_IGNORABLE.match(character))


_IGNORABLE = regex.compile(r"\p{Default_Ignorable_Code_Point}")


def cut(text: str, limit: int) -> Shown:
    """`text`, if it has at most `limit` characters; else its beginning and its end, with a note between them."""
    if len(text) <= limit:
        return Shown(text)
    left_out = len(text) - limit
    tail = limit // 3
    note = f"\n[... {left_out} characters are left out here ...]\n"
    return Shown(text[: limit - tail] + note + text[len(text) - tail :], left_out)


def nonce(*texts: str) -> str:
    """Hexadecimal digits that depend on every character of the texts, and on where one ends and the next begins."""
    digest = hashlib.sha256()
    for text in texts:
        said = text.encode("utf-8", "surrogatepass")
        digest.update(len(said).to_bytes(8, "big") + said)
    return digest.hexdigest()[:NONCE]


def marked(name: str, text: str, seal: str) -> str:
    """The text between marks of that name and nonce.

    >>> print(marked("answer A", "Paris.", "0123456789ab"))
    <answer A 0123456789ab>
    Paris.
    </answer A 0123456789ab>
    """
    if seal in text:  # a fixed point of the hash; nobody will live to see one
        raise FeedbackError("a text holds its own nonce; it cannot be judged")
    return f"<{name} {seal}>\n{text}\n</{name} {seal}>"


def shown(texts: Mapping[str, str], *, framed: bool, longest: int) -> tuple[dict[str, str], int, str]:
    """Each named text as the judge is to read it; how many characters were left out in all; and the nonce ("" without).

    Without `framed` a text stands behind its name and is not changed, to measure what framing is good for.
    """
    pieces = {name: cut(text, longest) for name, text in texts.items()}
    left_out = sum(piece.cut for piece in pieces.values())
    if not framed:
        return {name: f"{name}:\n{piece.text}" for name, piece in pieces.items()}, left_out, ""
    plain = {name: inert(piece.text) for name, piece in pieces.items()}
    seal = nonce(*(part for pair in plain.items() for part in pair))
    return {name: marked(name, text, seal) for name, text in plain.items()}, left_out, seal
