"""A Python function as a reward source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from rlaif_core import ConfigError, Outcome, Rollouts
from rlaif_core.deadline import each_within, insist_possible
from rlaif_core.errors import blame
from rlaif_core.feedback import outcome_of, outcomes_of
from rlaif_core.prompts import load_function
from rlaif_rewards.awaiting import finished
from rlaif_rewards.trl import called

Convention = Literal["answer", "rollouts", "trl"]


class Function:
    """What the function at `path` ("file.py:name" or "module:name") returns, called by a `convention`.

    "answer": with a `Prompt` and a completion, for each answer in turn; it returns a number, `Score`, `Abstain`,
    `Failed`, or None (no opinion). "rollouts": once with all the `Rollouts`; it returns as many of these.
    "trl": once, as TRL calls reward functions, which run unchanged (`path = "trl.rewards:think_format_reward"`):
    prompts, completions, completion_ids, the dataset's other columns, trainer_state, log_extra and log_metric by name;
    it returns a list of numbers, and None for no opinion; a NaN has failed. Prompts and completions are messages where
    prompts are conversations; `conversational` says otherwise. What is logged is told in the reasons.
    `options` are passed on by name. Coroutines are awaited. A call that takes longer than `timeout` seconds (0: no
    limit) stops the run, as does one that raises.
    """

    def __init__(
        self,
        path: str,
        convention: Convention = "answer",
        conversational: bool | None = None,
        timeout: float = 60.0,
        options: dict[str, Any] | None = None,
    ) -> None:
        if conversational is not None and convention != "trl":
            raise ConfigError("function: conversational belongs to convention = 'trl'; drop it")
        self.path, self.convention, self.conversational = path, convention, conversational
        self.timeout = insist_possible(timeout)
        self._function = partial(load_function(path), **(options or {}))

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        whose = f"reward function {self.path!r}"
        if self.convention != "answer":
            with blame(whose):
                return next(each_within(self.timeout, [partial(self._all, rollouts)]))
        pairs = zip(rollouts.prompts, rollouts.completions, strict=True)
        answers = each_within(self.timeout, [partial(_call, self._function, *pair) for pair in pairs])
        outcomes = []
        for row, prompt in enumerate(rollouts.prompts):
            with blame(f"{whose}, answer {row}, to prompt {prompt.id!r}"):
                outcomes.append(outcome_of(next(answers), row))
        return outcomes

    def _all(self, rollouts: Rollouts) -> Sequence[Outcome]:
        if self.convention == "trl":
            return called(partial(_call, self._function), rollouts, self.conversational)
        return outcomes_of(_call(self._function, rollouts), len(rollouts))


def _call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return finished(function(*arguments, **named))
