"""Rows of a dataset as pairs of answers with what every source said of them, by the config of `rlaif fuse`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from rlaif_core import ConfigError, DataError, Prompt
from rlaif_core.errors import blame, suggest
from rlaif_core.fusing import Kind
from rlaif_core.prompts import load_prompts
from rlaif_fusion.config import Coded, FuseConfig, SourceTable, TrustedTable

ROUNDING = 1e-6
"""How far beyond its ends a probability may be, where whoever wrote it rounded."""

Column = list[float | None]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """N pairs: prompts, first and second answers, what each source said [N], in what order it was shown the answers
    [N], and trusted labels [N], apart those to learn from and those held out. None stands for nothing said or known."""

    prompts: list[Prompt]
    first: list[str]
    second: list[str]
    said: dict[str, Column]
    kinds: dict[str, Kind]
    positions: dict[str, Column]
    trusted: Column
    held_out: Column

    def lengths(self) -> list[float]:
        """(first - second) / (first + second) of the answers' lengths in characters."""
        sizes = [(len(one), len(other)) for one, other in zip(self.first, self.second, strict=True)]
        return [(one - other) / (one + other) if one + other else 0.0 for one, other in sizes]


def read(config: FuseConfig) -> Rows:
    """The rows that the config describes; whatever does not fit is named by row and column."""
    with blame("[data]"):
        prompts = load_prompts(config.data.prompts())
    labels = _labels(config, prompts)
    trusted, held_out = _parted(labels, prompts, config.trusted, config.fusion.seed)
    said = {}
    for source in config.sources:
        said[source.name] = [_said(source, prompt) for prompt in prompts]
    return Rows(
        prompts=prompts,
        first=[_answer(prompt, config.data.first) for prompt in prompts],
        second=[_answer(prompt, config.data.second) for prompt in prompts],
        said=said,
        kinds={source.name: source.kind for source in config.sources},
        positions={
            source.name: [_position(source.order, prompt) for prompt in prompts]
            for source in config.sources
            if source.order
        },
        trusted=trusted,
        held_out=held_out,
    )


def _value(prompt: Prompt, column: str) -> Any:
    """The value of a column, or of an entry of a column that is a mapping."""
    if column in prompt.meta:
        return prompt.meta[column]
    outer, dot, inner = column.partition(".")
    if dot and isinstance(entries := prompt.meta.get(outer), Mapping):
        return entries.get(inner)
    known = ", ".join(map(str, prompt.meta))
    raise DataError(f"row {prompt.id!r} has no column {column!r}{suggest(column, prompt.meta) or '.'} Columns: {known}")


def _answer(prompt: Prompt, column: str) -> str:
    value = _value(prompt, column)
    if not isinstance(value, str):
        raise DataError(
            f"row {prompt.id!r}: column {column!r} holds {value!r:.40}, but an answer is a text; "
            "mend or leave out such rows with [data] map"
        )
    return value


def _said(source: SourceTable, prompt: Prompt) -> float | None:
    where = f"row {prompt.id!r}: source {source.name!r}"
    if source.columns:
        first, second = (_number(_value(prompt, column), where) for column in source.columns)
        return None if first is None or second is None else first - second
    value = _value(prompt, source.column)
    if source.kind == "vote":
        return _decoded(value, source, where)
    number = _number(value, where)
    if number is None or source.kind == "score":
        return number
    low, high = float(source.second), float(source.first)
    share = (number - low) / (high - low)
    if not -ROUNDING <= share <= 1 + ROUNDING:
        raise DataError(f"{where} says {number:g}, but a probability runs from second = {low:g} to first = {high:g}")
    return min(1.0, max(0.0, share))


def _decoded(value: Any, coded: Coded, where: str) -> float | None:
    """1 for the first answer, 0 for the second, 0.5 for neither; None where nothing is said."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    for code, meaning in ((coded.first, 1.0), (coded.second, 0.0), (coded.tie, 0.5)):
        if code is not None and value == code:
            return meaning
    codes = f"first = {coded.first!r}, second = {coded.second!r}, tie = {coded.tie!r}"
    raise DataError(f"{where} says {value!r:.40}, but the values are {codes}; say in its table what they mean")


def _number(value: Any, where: str) -> float | None:
    """A number of a column; nothing said where it is empty (which pandas and Arrow write as NaN)."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
        raise DataError(f"{where} says {value!r:.40}, which is no finite number")
    return float(value)


def _position(order: str, prompt: Prompt) -> float | None:
    if order in ("first", "second"):
        return 1.0 if order == "first" else -1.0
    value = _value(prompt, order)
    return None if value is None else -1.0 if value else 1.0


def _labels(config: FuseConfig, prompts: list[Prompt]) -> Column:
    """The trusted label of every row, from its own columns or from a file by its id."""
    table = config.trusted
    if table is None:
        return [None] * len(prompts)
    if not table.file:
        found = {prompt.id: _value(prompt, table.column) for prompt in prompts}
    else:
        found = _file(table)
        if not found.keys() & {prompt.id for prompt in prompts}:
            raise DataError(f"[trusted] {table.file}: none of its ids is that of a row; name their columns with id")
    return [_decoded(found.get(prompt.id), table, f"row {prompt.id!r}: the trusted label") for prompt in prompts]


def _file(table: TrustedTable) -> dict[str, Any]:
    """{id: label} of a file with an object a line."""
    found: dict[str, Any] = {}
    try:
        with Path(table.file).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict) or table.id not in row or table.column not in row:
                    raise DataError(f"[trusted] {table.file}:{number} lacks {table.id!r} or {table.column!r}")
                found[str(row[table.id])] = row[table.column]
    except OSError as error:
        raise ConfigError(f"[trusted] {table.file}: cannot be read ({error.strerror})") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"[trusted] {table.file}: not JSON, an object a line: {error}") from None
    return found


def _parted(labels: Column, prompts: list[Prompt], table: TrustedTable | None, seed: int) -> tuple[Column, Column]:
    """Labels to learn from, and those held out, by prompt: pairs of one prompt are alike, and one would tell the other.

    The order of the rows does not matter.
    """
    share = table.held_out if table else 0.0
    asked = [prompt.text or json.dumps([dict(message) for message in prompt.messages]) for prompt in prompts]
    groups = sorted({text for text, label in zip(asked, labels, strict=True) if label is not None})
    Random(f"fuse/{seed}").shuffle(groups)
    out = set(groups[: round(share * len(groups))])
    paired = list(zip(asked, labels, strict=True))
    return (
        [None if text in out else label for text, label in paired],
        [label if text in out else None for text, label in paired],
    )
