"""What rewards that ask a judge have in common: what it is to judge by, and what they make of its verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rlaif_core import (
    Abstain,
    ConfigError,
    DataError,
    Failed,
    Outcome,
    Prompt,
    Score,
)
from rlaif_core.options import OptionGroup
from rlaif_core.rubric import Constitution, Criterion, load_rubric


@dataclass(frozen=True, kw_only=True)
class Standards(OptionGroup):
    """What a judge is to judge by.

    rubric: a text, or a file: .md (`## Name` for each criterion, with a numbered list of levels, worst first) or .toml
    (`[[criteria]]`); scores of several criteria are averaged by their weights. constitution: a file of principles, of
    which `principles` are drawn for every prompt by `seed`, anew whenever the policy has changed, in the place of a
    rubric. reference: a column of the dataset that holds an answer known to be good.
    """

    rubric: str = ""
    constitution: str = ""
    principles: int = 1
    seed: int = 0
    reference: str = ""

    def __post_init__(self) -> None:
        if self.rubric and self.constitution:
            raise ConfigError("judge: give a rubric or a constitution, not both")
        if self.principles < 1:
            raise ConfigError(f"judge: principles is {self.principles}, but must be at least 1")
        _ = self._criteria, self._constitution  # a file that cannot be read is said at once

    @cached_property
    def _criteria(self) -> tuple[Criterion, ...]:
        return load_rubric(self.rubric) or (Criterion(text=""),)

    @cached_property
    def _constitution(self) -> Constitution | None:
        return Constitution.load(self.constitution) if self.constitution else None

    def of(self, prompt: Prompt, version: int) -> Sequence[Criterion]:
        """The criteria for the answers to a prompt, the same for all of them."""
        if self._constitution is None:
            return self._criteria
        drawn = self._constitution.draw(f"{self.seed}/{version}/{prompt.id}", self.principles)
        return [Criterion(text=its.text or its.critique, name=its.name) for its in drawn]

    def reference_of(self, prompt: Prompt) -> str:
        """The reference answer to a prompt, "" where none is wanted."""
        if not self.reference:
            return ""
        if self.reference not in prompt.meta:
            there = ", ".join(map(str, prompt.meta)) or "none besides the prompt"
            raise DataError(f"prompt {prompt.id!r}: its row has no column {self.reference!r}; columns: {there}")
        value = prompt.meta[self.reference]
        if not isinstance(value, str):
            raise DataError(f"prompt {prompt.id!r}: column {self.reference!r} must be a text, but is {value!r:.80}")
        return value


def summed(said: Sequence[tuple[str, float, Outcome]]) -> Outcome:
    """The weighted mean of (name, weight, outcome): it fails where one has failed, and abstains where one abstains, for
    a mean over fewer criteria could not be compared with others."""
    cost = math.fsum(outcome.cost for _, _, outcome in said)
    if len(said) == 1:
        return said[0][2]
    for kind in (Failed, Abstain):
        for name, _, outcome in said:
            if isinstance(outcome, kind):
                return kind(f"{name or 'a criterion'}: {outcome.reason}", cost)
    scores = [(name, weight, outcome) for name, weight, outcome in said if isinstance(outcome, Score)]
    total = math.fsum(weight for _, weight, _ in scores)
    value = math.fsum(weight * outcome.value for _, weight, outcome in scores) / total
    told = "; ".join(f"{name or 'criterion'} {outcome.value:+.2f}: {outcome.reason}" for name, _, outcome in scores)
    return Score(value, told, cost)
