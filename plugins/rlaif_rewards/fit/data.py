"""Rows of a dataset into what is learnt from: texts with their labels, or pairs of a better and a worse answer.

Prompts and recorded answers are read as a run reads them, in every format that it knows. Nothing is guessed: a value
that is missing, of another kind or of no known label is an error that names row and column.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rlaif_core import DataError, Prompt, RlaifError, Score
from rlaif_core.config import PromptTable
from rlaif_core.errors import suggest
from rlaif_core.prompts import load_prompts
from rlaif_core.recordings import read, recordings
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
    much, annotators [N] int64 the place of who said so in `people` (-1: nobody is named). Pairs of one of stages [N]
    int64 are one answer and all those of its list that are worse."""

    chosen: tuple[Shown, ...]
    rejected: tuple[Shown, ...]
    targets: Array
    margins: Array
    annotators: NDArray[np.int64]
    people: tuple[str, ...]
    groups: tuple[str, ...]
    stages: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, rows: Sequence[int]) -> Self:
        """Some of the pairs; one that is taken twice is of another list the second time."""
        its, times, seen = list(rows), list[int](), Counter[int]()
        for row in its:
            times.append(seen[row])
            seen[row] += 1
        _, stages = np.unique(np.stack([self.stages[its], times], 1), axis=0, return_inverse=True)
        return type(self)(
            chosen=tuple(self.chosen[row] for row in its),
            rejected=tuple(self.rejected[row] for row in its),
            targets=self.targets[its],
            margins=self.margins[its],
            annotators=self.annotators[its],
            people=self.people,
            groups=tuple(self.groups[row] for row in its),
            stages=stages.reshape(-1).astype(np.int64),
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
    text = data.text or ("completion" if data.prompt else "text")
    renamed = {"completion": text} if data.prompt and data.text else {}
    # A column "label" is [data] label's to read, whatever a run would take it for: answers are looked at here.
    prompts = _rows(data, column=data.prompt or text, format="prompt", columns=renamed)
    said_of = _voted if data.votes else _named
    found = [(prompt, said_of(prompt, data)) for prompt in prompts]
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
    shown = tuple(_behind(prompt, text) if data.prompt else _alone(prompt, text) for prompt, _ in kept)
    return Labelled(
        shown=shown,
        targets=targets / targets.sum(1, keepdims=True),
        labels=labels,
        groups=tuple(_group(prompt, its, data) for (prompt, _), its in zip(kept, shown, strict=True)),
    )


def preferences(data: DataTable) -> Preferences:
    """The pairs that `[data]` describes: one a row of a chosen and a rejected answer, and of answers with scores every
    two whose scores differ."""
    prompts = _rows(data, column=data.prompt, format=data.format, columns=data.columns)
    pairs, stages = list[tuple[Prompt, str, str]](), list[int]()
    for prompt in prompts:
        for worse_ones in _stages(prompt):
            stages += [stages[-1] + 1 if stages else 0] * len(worse_ones)
            pairs += [(prompt, *pair) for pair in worse_ones]
    if not pairs:
        raise DataError(f"none of {len(prompts)} rows records two answers whose scores differ; nothing to compare")
    if data.tie or data.probability or data.margin:
        lone = next((prompt for prompt in prompts if "chosen" not in prompt.meta), None)
        if lone:
            raise DataError(
                f"{lone.id}: answers with scores say themselves which is the better one; [data] tie, probability and "
                "margin are for rows of 'chosen' and 'rejected'"
            )
    asked = [prompt for prompt, _, _ in pairs]
    annotators = [str(_value(prompt, data.annotator)) if data.annotator else "" for prompt in asked]
    people = tuple(sorted(set(annotators))) if data.annotator else ()
    margins = [_number(prompt, data.margin, 0, math.inf, "0 or more") if data.margin else 0.0 for prompt in asked]
    chosen = tuple(_answered(prompt, better) for prompt, better, _ in pairs)
    return Preferences(
        chosen=chosen,
        rejected=tuple(_answered(prompt, worse) for prompt, _, worse in pairs),
        targets=np.array([_preferred(prompt, data) for prompt in asked]),
        margins=np.array(margins),
        annotators=np.array([people.index(name) if people else -1 for name in annotators], dtype=np.int64),
        people=people,
        groups=tuple(_group(prompt, its, data) for prompt, its in zip(asked, chosen, strict=True)),
        stages=np.array(stages, dtype=np.int64),
    )


def _stages(prompt: Prompt) -> list[list[tuple[str, str]]]:
    """[(better, worse)] of each answer that a row records with a score, and all that have less."""
    try:
        recorded = recordings(prompt)
    except DataError as error:
        raise DataError(_ours(str(error))) from error
    said = [(each.text, each.outcome.value) for each in recorded if isinstance(each.outcome, Score)]
    found = [[(one, other) for other, worth in said if value > worth and one != other] for one, value in said]
    return [pairs for pairs in found if pairs]


def _rows(data: DataTable, **answers: Any) -> list[Prompt]:
    names = ("dataset", "files", "split", "map", "options", "limit", "broken", "transcripts")
    table = PromptTable(**{name: getattr(data, name) for name in names}, **answers)
    try:
        return load_prompts(table)
    except Exception as error:  # who reads rows speaks of the table that it knows
        error.__notes__ = [_ours(note) for note in getattr(error, "__notes__", [])]
        if isinstance(error, RlaifError):
            error.args = (_ours(str(error)),)
        raise


def _ours(told: str) -> str:
    told = told.removesuffix('; with format = "prompt" the answers are not looked at')  # here they are what counts
    return re.sub(r"\[prompts\] column\b", "[data] prompt", told).replace("[prompts]", "[data]")


def _answered(prompt: Prompt, answer: str) -> Shown:
    return Shown(prompt.text, answer, prompt.messages, prompt.id)


def _behind(prompt: Prompt, column: str) -> Shown:
    """An answer to a prompt, a text or the assistant's message; `column` is what its dataset calls it."""
    if "completion" not in prompt.meta:
        raise _wrong(prompt, column, f"is missing. Columns besides the prompt: {', '.join(prompt.meta) or 'none'}")
    try:
        return _answered(prompt, read(prompt, "completion")[0].text)
    except DataError as error:
        raise DataError(f"{prompt.id}: {str(error).replace('completion', column)}") from error


def _alone(prompt: Prompt, column: str) -> Shown:
    """A text that answers nothing."""
    if prompt.messages:
        raise _wrong(prompt, column, f"holds messages, but must be a text; name it [data] prompt = {column!r}")
    if not prompt.text.strip():
        raise _wrong(prompt, column, "is empty; mend the row, or leave it out by [data] map")
    return Shown("", prompt.text, name=prompt.id)


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
    """Conversations that begin alike are of one group, however they go on."""
    if data.group and data.group not in (data.prompt, "prompt"):  # what was asked is no column any more
        return json.dumps(_value(prompt, data.group), default=str)
    first = next((its["content"] for its in shown.messages if its["role"] != "system"), shown.context)
    return " ".join((first or shown.answer).split())


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
