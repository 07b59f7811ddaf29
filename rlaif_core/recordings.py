"""Answers that a dataset recorded: what its columns are called, and what was said about each answer.

The names are those of TRL's dataset types. `[prompts]` brings rows into this shape and checks each when it is read; a
`Prompt` made by hand keeps the same columns in `meta`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from rlaif_core.errors import DataError
from rlaif_core.feedback import LARGEST, Abstain, Outcome, Score
from rlaif_core.types import HALF_CHARACTER, Message, Prompt

Format = Literal["preference", "unpaired", "stepwise", "scored", "completion"]
Answers = Literal["chosen", "rejected", "completion", "label", "completions", "labels", "answers", "scores"]
FORMATS: dict[Format, tuple[str, ...]] = {
    "preference": ("chosen", "rejected"),
    "unpaired": ("completion", "label"),
    "stepwise": ("completions", "labels"),
    "scored": ("answers", "scores"),
    "completion": ("completion",),
}
"""The columns of each format; where a row has those of several, the first counts."""
STEP = "\n"
"""What stands between the steps of a stepwise answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recorded answer and what was recorded about it: `Score`, or `Abstain` where there is none."""

    text: str
    outcome: Outcome


def format_of(columns: Mapping[str, Any]) -> Format | None:
    """The format in which these columns record answers, by their names and kinds; None where they record none."""
    lists = {name: _is_list(columns.get(name)) for name in ("completions", "labels", "answers", "scores")}
    marked = isinstance(columns.get("label"), Real | None)
    fits = {
        "unpaired": marked,
        "stepwise": lists["completions"] and lists["labels"],
        "scored": lists["answers"] and lists["scores"],
    }
    for name, needed in FORMATS.items():
        if all(column in columns for column in needed) and fits.get(name, True):
            return name
    return None


def recordings(prompt: Prompt) -> tuple[Recording, ...]:
    """The answers that the prompt's row records, in the order of the row: chosen before rejected.

    preference: `chosen` scores 1, `rejected` 0. unpaired: `label` is the score, true being 1 and false 0. scored: each
    of `answers` has its number in `scores` (null: none). stepwise: `completions` are the steps of one answer, joined by
    line ends, which is as good as its worst step (the least of `labels`; Lightman et al., 2023, Let's verify step by
    step). completion: no score. An answer is a text, or chat messages that hold the prompt's own (or none) and then
    one of the assistant's. Raises DataError where the row records none, or wrongly.
    """
    found = format_of(prompt.meta)
    try:
        if found is None:
            there = ", ".join(map(str, prompt.meta)) or "none besides the prompt"
            known = "; ".join(f"{', '.join(names)} ({name})" for name, names in FORMATS.items())
            raise DataError(
                f"its row records no answers; columns: {there}. Answers are recorded in {known}; name them with "
                "[prompts] columns"
            )
        return read(prompt, found)
    except DataError as error:
        raise DataError(f"prompt {prompt.id!r}: {error}") from error


def read(prompt: Prompt, form: Format) -> tuple[Recording, ...]:
    """What the prompt's row records in this format; DataError names the column that is wrong."""
    if form == "preference":
        chosen, rejected = (_text(prompt, name) for name in FORMATS[form])
        if chosen == rejected:
            raise DataError("columns 'chosen' and 'rejected' hold the same answer, so neither is preferred")
        return _recorded(chosen, Score(1.0, "recorded as chosen")), _recorded(
            rejected, Score(0.0, "recorded as rejected")
        )
    if form == "unpaired":
        return (_recorded(_text(prompt, "completion"), _score("column 'label'", _column(prompt, "label"))),)
    if form == "completion":
        return (_recorded(_text(prompt, "completion"), Abstain("recorded without a score")),)
    many, marks = FORMATS[form]
    answers, values = _list(prompt, many), _list(prompt, marks)
    if len(answers) != len(values):
        raise DataError(
            f"column {many!r} holds {len(answers)} answers, but column {marks!r} {len(values)}; give one for each"
        )
    texts = [_answer(prompt, _at(many, place), each) for place, each in enumerate(answers, 1)]
    if form == "scored":
        return tuple(
            _recorded(text, Abstain("recorded without a score") if value is None else _score(_at(marks, place), value))
            for place, (text, value) in enumerate(zip(texts, values, strict=True), 1)
        )
    steps = [_score(_at(marks, place), value).value for place, value in enumerate(values, 1)]
    worst = min(steps)
    reason = f"the worst of its {len(steps)} steps, number {steps.index(worst) + 1}, is recorded as {worst:g}"
    return (_recorded(STEP.join(texts), Score(worst, reason)),)


def check_message(message: Any, what: str) -> Message:
    """The message, if it has a role and a content that is text; DataError says of `what` it is."""
    if not isinstance(message, Mapping):
        raise DataError(f"{what} holds {_kind(message)} among its messages; a message has a role and a content")
    for key in ("role", "content"):
        if not isinstance(message.get(key), str):
            given = _kind(message[key]) if key in message else "missing"
            raise DataError(f"{what}: the {key} of a message is {given}, but must be a text")
    return message


def _recorded(text: str, outcome: Outcome) -> Recording:
    return Recording(text=text, outcome=outcome)


def _column(prompt: Prompt, name: str) -> Any:
    if name not in prompt.meta:
        raise DataError(f"no column {name!r}; columns: {', '.join(map(str, prompt.meta)) or 'none besides the prompt'}")
    return prompt.meta[name]


def _list(prompt: Prompt, name: str) -> list[Any]:
    value = _column(prompt, name)
    if not _is_list(value):
        raise DataError(f"column {name!r} is {_kind(value)}, but must be a list")
    if not value:
        raise DataError(f"column {name!r} is an empty list; it must hold an answer at least")
    return list(value)


def _text(prompt: Prompt, name: str) -> str:
    return _answer(prompt, f"column {name!r}", _column(prompt, name))


def _answer(prompt: Prompt, what: str, value: Any) -> str:
    if _is_list(value):
        value = _said(prompt, what, [check_message(message, what) for message in value])
    if not isinstance(value, str):
        raise DataError(f"{what} is {_kind(value)}, but an answer is a text or a list of chat messages")
    if not value.strip():
        raise DataError(f"{what} holds an empty answer")
    if HALF_CHARACTER.search(value):
        raise DataError(f"{what} holds half a character (a lone surrogate)")
    return value


def _said(prompt: Prompt, what: str, messages: Sequence[Message]) -> str:
    """The one message behind the prompt's own; a system message is of no account, it may be the config's."""
    said = [(its["role"], its["content"]) for its in messages if its["role"] != "system"]
    asked = [(its["role"], its["content"]) for its in prompt.messages if its["role"] != "system"]
    asked = asked or [("user", prompt.text)]
    rest = said[len(asked) :] if said[: len(asked)] == asked else said
    if not rest:
        raise DataError(f"{what} holds no message behind the prompt; the answer is missing")
    if rest[-1][0] != "assistant":
        raise DataError(
            f"{what}: the last message of an answer has the role {rest[-1][0]!r}, but must be the assistant's; cut off "
            "what comes behind the answer, or name its role so, with [prompts] map"
        )
    if len(rest) > 1:
        raise DataError(
            f"{what} holds {len(rest)} messages that are not the prompt's; an answer is one message of the "
            "assistant's, alone or behind the very messages of the prompt"
        )
    return rest[0][1]


def _at(name: str, place: int) -> str:
    return f"number {place} in column {name!r}"


def _score(what: str, value: Any) -> Score:
    if isinstance(value, bool):
        return Score(float(value), f"recorded as {str(value).lower()}")
    if not isinstance(value, Real):
        raise DataError(f"{what} is {_kind(value)}, but must be true, false or a number")
    number = float(value)
    if not math.isfinite(number) or abs(number) > LARGEST:
        raise DataError(f"{what} is {number}, but must be a finite number that float32 can hold")
    return Score(number, f"recorded as {number:g}")


def _is_list(value: Any) -> bool:
    return (isinstance(value, Sequence) or hasattr(value, "tolist")) and not isinstance(value, str | bytes)


def _kind(value: Any) -> str:
    """A wrong value in words: what it is, and a short look at it."""
    if value is None:
        return "null"
    shown = repr(value)
    return f"a {type(value).__name__} ({shown[:40]}{'...' if len(shown) > 40 else ''})"
