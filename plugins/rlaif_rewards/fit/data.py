"""Rows of a dataset into what is learnt from: texts with their labels, or pairs of a better and a worse answer.

Nothing is guessed. A value that is missing, of another kind or of no known label is an error that names row and column.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rlaif_core import DataError, Prompt, RlaifError
from rlaif_core.config import PromptTable
from rlaif_core.errors import suggest
from rlaif_core.prompts import load_prompts
from rlaif_rewards.fit.config import DataTable
from rlaif_rewards.reading import Shown

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """N texts; targets [N, labels] f64, each row a distribution over the labels."""

    shown: tuple[Shown, ...]
    targets: Array
    labels: tuple[str, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.shown)

    def take(self, rows: Sequence[int]) -> Self:
        """Some of the texts."""
        return type(self)(
            shown=tuple(self.shown[row] for row in rows),
            targets=self.targets[list(rows)],
            labels=self.labels,
            groups=tuple(self.groups[row] for row in rows),
        )

    def texts(self, row: int) -> tuple[tuple[str, str], ...]:
        """(context, answer) of everything that is read in a row."""
        return (key(self.shown[row]),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """N pairs; targets [N, 3] f64 are the shares of (chosen is better, neither, rejected is better), margins [N] by how
    much, annotators [N] int64 the place of who said so in `people` (-1: nobody is named)."""

    chosen: tuple[Shown, ...]
    rejected: tuple[Shown, ...]
    targets: Array
    margins: Array
    annotators: NDArray[np.int64]
    people: tuple[str, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, rows: Sequence[int]) -> Self:
        """Some of the pairs."""
        its = list(rows)
        return type(self)(
            chosen=tuple(self.chosen[row] for row in its),
            rejected=tuple(self.rejected[row] for row in its),
            targets=self.targets[its],
            margins=self.margins[its],
            annotators=self.annotators[its],
            people=self.people,
            groups=tuple(self.groups[row] for row in its),
        )

    def texts(self, row: int) -> tuple[tuple[str, str], ...]:
        """(context, answer) of everything that is read in a row."""
        return key(self.chosen[row]), key(self.rejected[row])


def key(shown: Shown) -> tuple[str, str]:
    """By what two texts are the same."""
    asked = "\n".join(message["content"] for message in shown.messages) or shown.context
    return " ".join(asked.split()), " ".join(shown.answer.split())


def labelled(data: DataTable) -> Labelled:
    """The texts and labels that `[data]` describes; labels in the order of `labels` or `votes`, else sorted."""
    prompts = _rows(data, data.prompt or data.text)
    read = _voted if data.votes else _named
    found = [(prompt, read(prompt, data)) for prompt in prompts]
    kept = [(prompt, said) for prompt, said in found if said is not None]
    if not kept:
        raise DataError(f"all {len(found)} rows are without a label; nothing to learn from")
    named = {name for _, said in kept for name in said}
    labels = tuple(data.votes or dict.fromkeys(data.labels.values()) or sorted(named))
    if len(named) < 2:
        raise DataError(
            f"every row is {next(iter(named))!r}: with one label there is nothing to tell apart; add rows of another"
        )
    targets = np.array([[said.get(label, 0.0) for label in labels] for _, said in kept])
    shown = tuple(_shown(prompt, data.text, data) for prompt, _ in kept)
    return Labelled(
        shown=shown,
        targets=targets / targets.sum(1, keepdims=True),
        labels=labels,
        groups=tuple(_group(prompt, its, data) for (prompt, _), its in zip(kept, shown, strict=True)),
    )


def preferences(data: DataTable) -> Preferences:
    """The pairs that `[data]` describes."""
    prompts = _rows(data, data.prompt or data.chosen)
    chosen, rejected = (
        tuple(_shown(prompt, name, data) for prompt in prompts) for name in (data.chosen, data.rejected)
    )
    for prompt, one, other in zip(prompts, chosen, rejected, strict=True):
        if one.answer == other.answer and not (data.tie and prompt.meta.get(data.tie)):
            raise _wrong(prompt, data.rejected, f"holds the same text as {data.chosen!r}, so neither is preferred")
    annotators = [str(_value(prompt, data.annotator)) if data.annotator else "" for prompt in prompts]
    people = tuple(sorted(set(annotators))) if data.annotator else ()
    margins = [_number(prompt, data.margin, 0, math.inf, "0 or more") if data.margin else 0.0 for prompt in prompts]
    return Preferences(
        chosen=chosen,
        rejected=rejected,
        targets=np.array([_preferred(prompt, data) for prompt in prompts]),
        margins=np.array(margins),
        annotators=np.array([people.index(name) if people else -1 for name in annotators], dtype=np.int64),
        people=people,
        groups=tuple(_group(prompt, its, data) for prompt, its in zip(prompts, chosen, strict=True)),
    )


def _rows(data: DataTable, column: str) -> list[Prompt]:
    table = PromptTable(
        dataset=data.dataset,
        files=data.files,
        split=data.split,
        map=data.map,
        options=data.options,
        limit=data.limit,
        broken=data.broken,
        column=column,
        format="prompt",  # what the other columns are is said by [data]
    )
    try:
        return load_prompts(table)
    except RlaifError as error:  # who reads rows speaks of the table that it knows
        told = type(error)(str(error).replace("[prompts]", "[data]"))
        for note in getattr(error, "__notes__", []):
            told.add_note(note.replace("[prompts]", "[data]"))
        raise told from error


def _shown(prompt: Prompt, column: str, data: DataTable) -> Shown:
    """The text of a column; what was asked is its context."""
    if not data.prompt and column in (data.text, data.chosen):
        if prompt.messages:
            raise _wrong(prompt, column, "holds messages, but must be a text; give the prompt a column of its own")
        text: Any = prompt.text
    else:
        text = _value(prompt, column)
    if not isinstance(text, str) or not text.strip():
        kind = "is empty" if isinstance(text, str) else f"is {_kind(text)}, but must be a text"
        raise _wrong(prompt, column, f"{kind}; mend the row, or leave it out by [data] map")
    if not data.prompt:
        return Shown("", text, name=prompt.id)
    return Shown(prompt.text, text, prompt.messages, prompt.id)


def _named(prompt: Prompt, data: DataTable) -> dict[str, float] | None:
    assert data.label is not None
    said = _value(prompt, data.label)
    if said is None and data.unlabelled == "drop":
        return None
    if not isinstance(said, str | bool | int | float) or said != said:
        told = f"is {_kind(said)}, but must be a label"
        raise _wrong(prompt, data.label, f'{told}; mend the row, or drop such rows by [data] unlabelled = "drop"')
    name = json.dumps(said) if isinstance(said, bool) else str(said)
    if data.labels and name not in data.labels:
        known = ", ".join(map(repr, data.labels))
        raise _wrong(prompt, data.label, f"says {name!r}, which [data] labels does not name. It names {known}")
    return {data.labels.get(name, name): 1.0}


def _voted(prompt: Prompt, data: DataTable) -> dict[str, float] | None:
    votes = {name: _number(prompt, name, 0, math.inf, "a count of votes, 0 or more") for name in data.votes}
    if any(votes.values()):
        return {name: count for name, count in votes.items() if count}
    if data.unlabelled == "drop":
        return None
    raise _wrong(prompt, data.votes[0], 'and the other votes are all 0; drop such rows by [data] unlabelled = "drop"')


def _preferred(prompt: Prompt, data: DataTable) -> tuple[float, float, float]:
    if data.probability:
        sure = _number(prompt, data.probability, 0, 1, "a probability")
        return sure, 0.0, 1 - sure
    if data.tie:
        tied = _value(prompt, data.tie)
        if not isinstance(tied, bool | int) or tied not in (0, 1):
            raise _wrong(prompt, data.tie, f"is {tied!r}, but must be true or false")
        return float(not tied), float(tied), 0.0
    return 1.0, 0.0, 0.0


def _group(prompt: Prompt, shown: Shown, data: DataTable) -> str:
    if data.group:
        return json.dumps(_value(prompt, data.group), default=str)
    return "\n".join(key(shown)[0 if data.prompt else 1 :][:1])


def _value(prompt: Prompt, column: str) -> Any:
    if column in prompt.meta:
        return prompt.meta[column]
    if column == "id":
        return prompt.id
    known: Mapping[str, Any] = prompt.meta
    raise _wrong(prompt, column, f"is missing{suggest(column, known) or '.'} Columns: {', '.join(known)}")


def _number(prompt: Prompt, column: str, least: float, most: float, what: str) -> float:
    given = value = _value(prompt, column)
    if isinstance(value, str):  # as many a CSV file has passed numbers on
        with contextlib.suppress(ValueError):
            value = float(value)
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fine or not least <= value <= most:
        told = repr(given) if isinstance(given, str | int) or fine else _kind(given)
        raise _wrong(prompt, column, f"is {told}, but must be {what}")
    return float(value)


def _kind(value: Any) -> str:
    return "null" if value is None else "NaN" if value != value else f"a {type(value).__name__}"


def _wrong(prompt: Prompt, column: str, told: str) -> DataError:
    return DataError(f"{prompt.id}: column {column!r} {told}")


Reader = Callable[[DataTable], Labelled | Preferences]
READERS: Mapping[str, Reader] = {"classifier": labelled, "reward_model": preferences}
"""How the rows of each target are read."""
