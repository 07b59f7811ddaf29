"""A Python function as a reward source."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from rlaif_core import Outcome, Rollouts
from rlaif_core.deadline import each_within, insist_possible
from rlaif_core.errors import blame
from rlaif_core.feedback import outcome_of, outcomes_of
from rlaif_core.prompts import load_function


class Function:
    """What the function at `path` ("file.py:name" or "module:name") returns.

    It is called with a `Prompt` and a completion, for each answer in turn; with `batch`, once with all the `Rollouts`.
    It returns a number, `Score`, `Abstain`, `Failed`, or None (no opinion), for each answer. `options` are passed on by
    name. A call that takes longer than `timeout` seconds (0: no limit) stops the run, as does one that raises.
    """

    def __init__(
        self, path: str, batch: bool = False, timeout: float = 60.0, options: dict[str, Any] | None = None
    ) -> None:
        self.path, self.batch, self.timeout = path, batch, insist_possible(timeout)
        self._function = partial(load_function(path), **(options or {}))

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        whose = f"reward function {self.path!r}"
        if self.batch:
            with blame(whose):
                said = next(each_within(self.timeout, [partial(self._function, rollouts)]))
                return outcomes_of(said, len(rollouts))
        pairs = zip(rollouts.prompts, rollouts.completions, strict=True)
        answers = each_within(self.timeout, [partial(self._function, *pair) for pair in pairs])
        outcomes = []
        for row, prompt in enumerate(rollouts.prompts):
            with blame(f"{whose}, answer {row}, to prompt {prompt.id!r}"):
                outcomes.append(outcome_of(next(answers), row))
        return outcomes
