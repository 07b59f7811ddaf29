"""A Python function as a judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rlaif_core import Question, Verdict
from rlaif_core.deadline import each_within, insist_possible
from rlaif_core.errors import blame
from rlaif_core.feedback import outcomes_of
from rlaif_core.prompts import load_function


class FunctionJudge:
    """What the function at `path` ("file.py:name" or "module:name") says of each question.

    It is called with a `Question` and returns a number, `Score`, `Abstain`, `Failed` or None (no opinion) for each of
    its answers, or a whole `Verdict`. `options` are passed on by name. A call that takes longer than `timeout` seconds
    (0: no limit) stops the run, as does one that raises.
    """

    def __init__(self, path: str, timeout: float = 60.0, options: dict[str, Any] | None = None) -> None:
        self.path, self.timeout = path, insist_possible(timeout)
        self._function = partial(load_function(path), **(options or {}))

    def ask(self, questions: Sequence[Question]) -> Sequence[Verdict]:
        said = each_within(self.timeout, [partial(self._function, question) for question in questions])
        verdicts = []
        for question in questions:
            with blame(f"judge function {self.path!r}, asked about prompt {question.prompt.id!r}"):
                verdict = next(said)
                whole = isinstance(verdict, Verdict)
                outcomes = outcomes_of(verdict.outcomes if whole else verdict, len(question.answers))
                verdicts.append(replace(verdict, outcomes=outcomes) if whole else Verdict(outcomes=outcomes))
        return verdicts
