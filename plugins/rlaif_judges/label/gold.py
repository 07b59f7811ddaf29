"""What is known about which answer is better, to compare labels with; no judge is shown it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from rlaif_core import DataError, Prompt
from rlaif_judges.label.answers import Answers, Recorded, column
from rlaif_judges.label.config import GoldTable

Gold = Callable[[Prompt, int, int], float | None]
"""By how much the first of two answers is the better one: above 0, below, 0 for a tie, None where nobody knows."""


def gold_of(table: GoldTable | None, answers: Answers, prompts: Iterable[Prompt]) -> Gold | None:
    """What `[gold]` says, each row read once to see that it can be; without it, that `chosen` is better."""
    if table is None:
        return _first if isinstance(answers, Recorded) and answers.preferred else None
    gold = _Column(table, answers)
    for prompt in prompts:
        gold(prompt, 0, 1)
    return gold


def _first(_: Prompt, one: int, other: int) -> float:
    return float(other - one)


class _Column:
    def __init__(self, table: GoldTable, answers: Answers) -> None:
        self._name, self._answers = table.column, answers
        named = ((table.first, 1.0), (table.second, -1.0), (table.tie, 0.0))
        self._margins = {str(said): margin for said, margin in named if said is not None}

    def __call__(self, prompt: Prompt, one: int, other: int) -> float | None:
        value, count = column(prompt, self._name), self._answers.count(prompt)
        where = f"prompt {prompt.id!r}: column {self._name!r}"
        if value is None:
            return None
        if isinstance(value, Sequence) and not isinstance(value, str):
            if len(value) != count or not all(its is None or _finite(its) for its in value):
                raise DataError(f"{where} is {value!r:.80}, but must hold a number for each of the {count} answers")
            if max(one, other) >= count or value[one] is None or value[other] is None:
                return None
            return float(value[one] - value[other])
        if count != 2:
            raise DataError(f"{where} says which of two answers is better, but there are {count}; give a list")
        if str(value) not in self._margins:
            known = ", ".join(map(repr, self._margins)) or "nothing"
            raise DataError(f"{where} says {value!r:.60}; [gold] knows {known}: set first, second and tie")
        return self._margins[str(value)] * (other - one)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
