"""What answers are judged, criticised and revised by: a rubric's criteria, or principles drawn by seed."""

from __future__ import annotations

import re
from dataclasses import replace

from rlaif_core import Prompt
from rlaif_core.rubric import Constitution, Criterion, Principle, load_rubric
from rlaif_judges.label.config import LabelTable

_BEFORE = re.compile(r"^\s*(?:Critique|Revision)\s*Request:\s*", re.IGNORECASE)
_BEHIND = re.compile(r"\s*(?:Critique|Revision|Options):\s*$", re.IGNORECASE)
"""What stands around a request in a published constitution, for a model that completes plain text."""


class Standards:
    """The rubric and the constitution of a `[label]` table, read when this is made."""

    def __init__(self, table: LabelTable) -> None:
        self._criteria = load_rubric(table.rubric) or (Criterion(text=""),)
        self._seed, self._count = table.seed, table.principles
        whole = Constitution.load(table.constitution).principles if table.constitution else ()
        principles = [_cleaned(principle) for principle in whole]
        asks = [its for its in principles if its.critique or its.revision]
        compares = [its for its in principles if not (its.critique or its.revision)]
        # A constitution may hold principles to compare by beside requests to revise; each is used for its own.
        self._writing = Constitution(asks or principles) if principles else None
        self._judging = Constitution(compares or principles) if principles and not table.rubric else None

    @property
    def fingerprint(self) -> str:
        """Everything that the files say, to know them again."""
        sides = [its.principles if its else () for its in (self._writing, self._judging)]
        return repr((self._criteria, sides))

    @property
    def width(self) -> int:
        """How many criteria an answer is judged by."""
        return len(self._criteria) if self._judging is None else min(self._count, len(self._judging.principles))

    @property
    def drawn(self) -> bool:
        """Whether answers are judged by principles."""
        return self._judging is not None

    def of(self, prompt: Prompt) -> tuple[Criterion, ...]:
        """The criteria for the answers to a prompt, the same for all of them."""
        if self._judging is None:
            return self._criteria
        drawn = self._judging.draw(f"{self._seed}/{prompt.id}", self._count)
        return tuple(Criterion(text=spoken(its), name=its.name) for its in drawn)

    def principle(self, prompt: Prompt, place: int, round_: int) -> Principle:
        """By what an answer is criticised and revised in a round (Bai et al. 2022: one drawn for each)."""
        assert self._writing is not None
        return self._writing.draw(f"{self._seed}/{prompt.id}/{place}/{round_}")[0]


def spoken(principle: Principle) -> str:
    """What a principle says: its text, or where it only asks for a critique, that."""
    return principle.text or principle.critique


def _cleaned(principle: Principle) -> Principle:
    cut = {name: _bare(getattr(principle, name)) for name in ("text", "critique", "revision")}
    return replace(principle, **cut)


def _bare(text: str) -> str:
    return _BEHIND.sub("", _BEFORE.sub("", text)).strip()
