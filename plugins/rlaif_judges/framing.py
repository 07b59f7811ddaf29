"""Showing a judge texts that were written by somebody who wants a good verdict.

Each text stands between marks that hold a nonce. The nonce is made of everything that is shown, and made again where a
text holds it, so that none can close its own mark. What a reader would not see is left out and counted, what would be a
control token to some model is respelt, and what is too long is cut in the middle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType

import regex

from rlaif_core import Prompt

NONCE = 12
"""Hexadecimal digits of a nonce."""

_CONTROL = regex.compile(
    r"<(?=[|｜][^<>\n]{1,80}[|｜]>)"  # <|im_start|>, <｜User｜>; but not the operators <| and |> of programs
    r"|<(?=/?(?:s|bos|eos|pad|unk|mask|sop|eop|think|tool_call|tool_response|SYS)>|<?/?SYS>>)"  # </s>, <<SYS>>
    r"|<(?=(?:(?:start|end)_of_\w+|\w+_token|seed:\w+|unused\d+|extra_id_\d+|reserved_\w+|special_\d+)>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT)\])"
    r"|\[(?=(?-i:/?(?:THINK|MODEL_SETTINGS|CALL_ID|ARGS|IMG|IMG_BREAK|IMG_END|gMASK|CLS|SEP|MASK|PAD|BOS|EOS))\])"
    r"|\[(?=[|｜][^\[\]\n]{1,80}[|｜]\])",  # [|assistant|]
    regex.IGNORECASE,
)
"""Where the control tokens of the usual chat templates begin. A program's text is not touched beyond them."""
_PLAIN = {"<": "‹", "[": "⟦"}

_JOINED = (
    r"[\p{Arabic}\p{Syriac}\p{Mongolian}\p{Devanagari}\p{Bengali}\p{Gurmukhi}\p{Gujarati}\p{Oriya}\p{Tamil}"
    r"\p{Telugu}\p{Kannada}\p{Malayalam}\p{Sinhala}\p{Khmer}\p{Myanmar}]"
)
_HIDDEN = regex.compile(
    # Joiners are part of how some scripts are spelt, and of emoji that are made of several.
    rf"(?<={_JOINED})[\u200C\u200D](?={_JOINED})(*SKIP)(*FAIL)"
    r"|(?<=\p{ExtPict}[\uFE0F\p{EMod}]?)\u200D(?=\p{ExtPict})(*SKIP)(*FAIL)"
    r"|(?<=[\p{Emoji}\p{ExtPict}])[\uFE0E\uFE0F](*SKIP)(*FAIL)"
    # Tags, variation selectors and fillers, too, are drawn as nothing.
    r"|[[\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]--[\n\t]]",
    regex.VERSION1,
)
"""A character that no reader sees."""


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
    seen, hidden = (text, 0) if text.isascii() and text.isprintable() else _HIDDEN.subn("", text)
    if hidden:
        seen += f"\n[{hidden} invisible characters are left out]"
    return _CONTROL.sub(lambda found: _PLAIN[found[0]], seen)


def cut(text: str, limit: int) -> Shown:
    """`text`, if it has at most `limit` characters; else its beginning and its end, with a note between them."""
    if len(text) <= limit:
        return Shown(text)
    left_out = len(text) - limit
    tail = limit // 3
    note = f"\n[... {left_out} characters are left out here ...]\n"
    return Shown(text[: limit - tail] + note + text[len(text) - tail :], left_out)


def nonce(*texts: str) -> str:
    """Hexadecimal digits that depend on every character of the texts, and on where one ends and the next begins.

    None of the texts holds them, however many of its own it holds to find them by chance.
    """
    digest = hashlib.sha256()
    for text in texts:
        said = text.encode("utf-8", "surrogatepass")
        digest.update(len(said).to_bytes(8, "big") + said)
    everything = "\0".join(texts).casefold()
    seals = (hashlib.sha256(digest.digest() + bytes(tries)).hexdigest()[:NONCE] for tries in count())
    return next(seal for seal in seals if seal not in everything)


def marked(name: str, text: str, seal: str) -> str:
    """The text between marks of that name and nonce.

    >>> print(marked("answer A", "Paris.", "0123456789ab"))
    <answer A 0123456789ab>
    Paris.
    </answer A 0123456789ab>
    """
    return f"<{name} {seal}>\n{text}\n</{name} {seal}>"


def turns(prompt: Prompt) -> dict[str, str]:
    """What was said before the answer, each turn under a name of its own: no turn, the model's earlier ones among
    them, can go on as if another had spoken."""
    said = prompt.messages or ({"role": "user", "content": prompt.text},)
    return {f"turn {number}, {message['role']}": message["content"] for number, message in enumerate(said, 1)}


def shown(
    texts: Mapping[str, str],
    *,
    conversation: Mapping[str, str] = MappingProxyType({}),
    framed: bool,
    longest: int,
) -> tuple[dict[str, str], int, str]:
    """Each named text as the judge is to read it, and under "conversation" the turns of that, which share what one text
    may take; how many characters were left out in all; and the nonce ("" without).

    Without `framed` a text stands behind its name and is not changed, to measure what framing is good for.
    """
    # What is invisible goes first: it must not push what is seen into the part that is cut.
    seen = {name: inert(text) if framed else text for name, text in (*conversation.items(), *texts.items())}
    each = allowance([len(seen[name]) for name in conversation], longest)
    pieces = {name: cut(text, each if name in conversation else longest) for name, text in seen.items()}
    seal = nonce(*(part for name, piece in pieces.items() for part in (name, piece.text))) if framed else ""
    told = {
        name: marked(name, piece.text, seal) if framed else f"{name}:\n{piece.text}" for name, piece in pieces.items()
    }
    if conversation:
        told["conversation"] = "\n\n".join(told.pop(name) for name in conversation)
    return told, sum(piece.cut for piece in pieces.values()), seal


def allowance(sizes: Sequence[int], total: int) -> int:
    """Up to how many characters texts of these sizes may each have, for all together to have at most `total`: what
    short ones do not need is left to the others."""
    left = total
    for others, size in zip(range(len(sizes), 0, -1), sorted(sizes), strict=True):
        if size * others > left:
            return left // others
        left -= size
    return total
