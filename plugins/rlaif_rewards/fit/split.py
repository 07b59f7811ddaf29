"""Who is learnt from and who is asked afterwards: by group, never by row, and no text on both sides.

A text that stands on both sides would be a question whose answer was told before; labels that contradict each other
are counted and said.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlaif_core import DataError
from rlaif_rewards.fit.data import Labelled, Preferences


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Rows to learn from and rows held out; `leaked`: rows left out because a text of theirs is held out too."""

    learnt: tuple[int, ...]
    held: tuple[int, ...]
    leaked: tuple[int, ...]


def folds(groups: Sequence[str], count: int, seed: int) -> list[tuple[int, ...]]:
    """Row numbers in `count` parts of about equal size, a group's rows together; fewer where there are fewer groups."""
    members: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    order = sorted(members)
    random.Random(f"{seed}/folds").shuffle(order)
    order.sort(key=lambda group: -len(members[group]))  # stable: the seed decides among groups of one size
    parts: list[list[int]] = [[] for _ in range(min(count, len(members)))]
    for group in order:
        min(parts, key=len).extend(members[group])
    return [tuple(sorted(part)) for part in parts]


def split(examples: Labelled | Preferences, share: float, seed: int) -> Split:
    """Hold out whole groups until they are at least `share` of the rows."""
    groups = sorted(set(examples.groups))
    if len(groups) < 2:
        raise DataError(
            f"all {len(examples)} rows are of one group, so that nothing could be held out; choose another [data] group"
        )
    random.Random(f"{seed}/split").shuffle(groups)
    held, count = set[str](), 0
    sizes: dict[str, int] = {}
    for group in examples.groups:
        sizes[group] = sizes.get(group, 0) + 1
    for group in groups[:-1]:
        if count >= share * len(examples):
            break
        held.add(group)
        count += sizes[group]
    return parted(examples, [row for row, group in enumerate(examples.groups) if group in held])


def parted(examples: Labelled | Preferences, held: Sequence[int]) -> Split:
    """Hold out these rows; learn from the others that share no text with them."""
    asked = {text for row in held for text in examples.texts(row)}
    apart = set(held)
    others = [row for row in range(len(examples)) if row not in apart]
    leaked = tuple(row for row in others if any(text in asked for text in examples.texts(row)))
    gone = set(leaked)
    learnt = tuple(row for row in others if row not in gone)
    if not learnt:
        raise DataError("every text that could be learnt from is held out as well; the rows are all alike")
    return Split(learnt=learnt, held=tuple(held), leaked=leaked)


def contradictions(examples: Labelled | Preferences) -> tuple[int, str]:
    """How many rows share their texts with a row that says otherwise, and the first such text, shortened."""
    said: dict[tuple[tuple[str, str], ...], set[int]] = {}
    rows: dict[tuple[tuple[str, str], ...], int] = {}
    for row in range(len(examples)):
        texts, says = examples.texts(row), int(np.argmax(examples.targets[row]))
        if len(texts) == 2 and texts[0] > texts[1]:  # the same pair the other way round
            texts, says = texts[::-1], 2 - says
        said.setdefault(texts, set()).add(says)
        rows[texts] = rows.get(texts, 0) + 1
    clashing = [texts for texts, its in said.items() if len(its) > 1]
    example = clashing[0][0][1][:60] if clashing else ""
    return sum(rows[texts] for texts in clashing), example
