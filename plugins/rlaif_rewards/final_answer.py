r"""What an answer finally says, when more is said around it: inside <answer> tags, behind ####, in \boxed{..}, last.

Correctness, agreement and sincerity all compare these, so that a longer derivation is no other answer.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Literal, get_args

import regex

from rlaif_core import ConfigError
from rlaif_core.errors import suggest
from rlaif_core.prompts import load_function
from rlaif_rewards.words import canonical

Take = Literal["whole", "tag", "last_line", "number", "boxed"]
Taking = Callable[[str], str | None]

_NUMBER = regex.compile(
    r"(?<![\w.])[-−+]?\s?[$€£¥]?\s?(?:\d{1,3}(?:,\d{3})+(?![\d,]*\d)|\d+)(?:\.\d+)?(?:\s?/\s?\d+)?(?!\w)|"
    r"(?<![\w.])[-−+]?\.\d+(?!\w)"
)
_ANNOUNCED = regex.compile(r"####|(?:^|\n)\s*A:|\b[Aa]nswer\s*(?:is|:|=)")
_AROUND = " \t\n\"'“”‘’«»()[]{}<>*_`.,;:!?…"
_ARTICLE = regex.compile(r"^(?:the|an?)\s+(?=\S)")
LONGEST_NUMBER = 60
"""Digits of the longest number that is read as one."""
TAIL = 4000
"""Characters at the end of an answer in which its final number is looked for."""


def taking(take: str) -> Taking:
    """How to read the final answer: by one of the names of `Take`, or by a function "file.py:name" that returns a text,
    or None where there is none."""
    known: dict[str, Taking] = {
        "whole": lambda text: text,
        "tag": _tagged,
        "last_line": _last_line,
        "number": _number_in,
        "boxed": _boxed,
    }
    if take in known:
        return known[take]
    if ":" not in take:
        names = get_args(Take)
        raise ConfigError(
            f"take is {take!r}{suggest(take, names)}; say one of {', '.join(names)}, or a function 'file.py:name'"
        )
    return load_function(take)


def normalised(text: str) -> str:
    """One spelling for final answers: canonical, without punctuation and quotes around it, and a leading article.

    What is inside stays ("C++", "-5", "3.5"), other than in SQuAD's normalisation, which makes "-5" and "5" one.
    """
    bare = canonical(text).strip(_AROUND)
    return _ARTICLE.sub("", bare).strip(_AROUND) or canonical(text).strip()


def number(text: str) -> Fraction | None:
    """The number that `text` as a whole is, exactly; None if it is none. Currency, thousands and % are left aside."""
    bare = text.strip().rstrip(" .%").replace("−", "-")
    found = _NUMBER.fullmatch(bare)
    if found is None or len(bare) > LONGEST_NUMBER:
        return None
    plain = regex.sub(r"[,\s$€£¥]", "", bare)
    try:
        return Fraction(plain)
    except (ValueError, ZeroDivisionError):
        return None


def same(one: str, other: str) -> bool:
    """Whether two final answers are one: equal as numbers where both are numbers, else in their `normalised` spelling.

    An empty answer is like none, not even another empty one.
    """
    if (first := number(one)) is not None and (second := number(other)) is not None:
        return first == second
    return bool(normalised(one)) and normalised(one) == normalised(other)


def _tagged(text: str) -> str | None:
    if text.count("<answer>") != 1 or text.count("</answer>") != 1:
        return None
    inside, closed, _ = text.partition("<answer>")[2].partition("</answer>")
    return inside.strip() if closed else None


def _last_line(text: str) -> str | None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else None


def _number_in(text: str) -> str | None:
    """The first number behind the last announcement (####, "A:", "answer is"), else the last number at all."""
    text = text[-TAIL:]
    announced = [found.end() for found in _ANNOUNCED.finditer(text)]
    if announced and (found := _NUMBER.search(text, announced[-1])):
        return found[0].strip()
    numbers = _NUMBER.findall(text)
    return numbers[-1].strip() if numbers else None


def _boxed(text: str) -> str | None:
    start = text.rfind(r"\boxed{")
    if start < 0:
        return None
    depth, begin = 1, start + len(r"\boxed{")
    for found in regex.finditer(r"\\.|[{}]", text, pos=begin):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if not depth:
            return text[begin : found.start()].strip() or None
    return None
