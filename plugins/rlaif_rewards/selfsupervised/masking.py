"""Masked claims: a text with a gap in it is a question whose answer is known without any label.

What is masked is what a claim stands or falls with: a number, a name, or where there is neither a long word.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Literal

import regex

from rlaif_core import ConfigError, DataError
from rlaif_core.config import PromptTable
from rlaif_core.prompts import read_prompts
from rlaif_rewards.selfsupervised.matching import plain_words

Kind = Literal["numbers", "names", "words"]
FRAME = "Fill the gap. Answer with the missing words alone.\n\n{masked}"
FRAME_OF_QUESTIONS = "{question}\n\n" + FRAME
LETTERS = r"[\p{L}\p{M}'’-]"
SPANS: dict[Kind, regex.Pattern[str]] = {
    "numbers": regex.compile(r"(?<![\p{L}\d.,])[-+]?\d[\d,]*+(?:\.\d+)?%?(?![\p{L}\d])"),
    # not at the beginning of a sentence, where anything is written large
    "names": regex.compile(rf"(?<=[\p{{Ll}},;:)] )\p{{Lu}}{LETTERS}++(?: \p{{Lu}}{LETTERS}++)*+"),
    "words": regex.compile(rf"(?<!{LETTERS})\p{{L}}{LETTERS}{{4,}}+"),
}


def masked(
    source: PromptTable,
    *,
    spans: tuple[Kind, ...] = ("numbers", "names", "words"),
    pattern: str = "",
    question: str = "",
    frame: str = "",
    blank: str = "____",
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Rows `{id, prompt, span, text}`: a text with one span left out, and that span, for the reward `restoration`.

    `source` is a table as `[prompts]` is, whose prompts are the texts. One span is drawn, by `seed`, of the first kind
    in `spans` of which the text has any; "words" are the longest ones. `pattern`, a regular expression, finds spans in
    place of the kinds: its first group, or all of it. A span must not occur elsewhere in the text, nor in the question,
    where it could be copied from; a text without any is left out. `question` names a column that is shown as
    `{question}` in `frame`, beside `{masked}`, the text with `blank` in the place of the span.
    """
    frame = frame or (FRAME_OF_QUESTIONS if question else FRAME)
    if "{masked}" not in frame and "{question}" not in frame:
        raise ConfigError(f"masked: frame is {frame!r}, but must hold {{masked}} or {{question}}")
    try:
        own = regex.compile(pattern) if pattern else None
    except regex.error as error:
        raise ConfigError(f"masked: pattern {pattern!r} is no regular expression ({error})") from None
    patterns = [own] if own else [SPANS[kind] for kind in spans]
    for prompt in read_prompts(source):
        text, asked = prompt.text, prompt.meta.get(question) if question else ""
        if not isinstance(asked, str):
            raise DataError(f"prompt {prompt.id!r} has no text in column {question!r}")
        found = _span(text, asked, patterns, Random(f"{seed}/masked/{prompt.id}"))
        if found:
            start, end = found
            asking = _filled(frame, masked=f"{text[:start]}{blank}{text[end:]}", question=asked)
            yield {"id": prompt.id, "prompt": asking, "span": text[start:end], "text": text}


def _filled(frame: str, **shown: str) -> str:
    """The frame with both places filled, and braces in a text left alone."""
    return regex.sub(r"\{(masked|question)\}", lambda place: shown[place[1]], frame)


def _span(text: str, asked: str, patterns: list[regex.Pattern[str]], random: Random) -> tuple[int, int] | None:
    """Where the span begins and ends that is left out; None where the text has none to leave out."""
    for pattern in patterns:
        group = min(pattern.groups, 1)
        spans = [span for found in pattern.finditer(text) if (span := found.span(group))[0] < span[1]]
        if pattern is SPANS["words"]:
            longest = max((end - start for start, end in spans), default=0)
            spans = [(start, end) for start, end in spans if end - start == longest]
        elsewhere = plain_words(asked)
        fitting = [
            (start, end)
            for start, end in spans
            if (words := plain_words(text[start:end]))
            and not any(_holds(plain_words(part), words) for part in (text[:start], text[end:]))
            and not _holds(elsewhere, words)
        ]
        if fitting:
            return random.choice(fitting)
    return None


def _holds(whole: tuple[str, ...], part: tuple[str, ...]) -> bool:
    """Whether some words occur in a row among others."""
    return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))
