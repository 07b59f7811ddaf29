"""Reward functions written for TRL, called as its trainers call them: batches of columns in, numbers or None out.

What they pass: prompts and completions (texts, or lists of messages), the tokens of the answers, every other column of
the dataset by its name, the state of the trainer, and two functions to log with (TRL 1.16, `GRPOTrainer`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from rlaif_core import Abstain, DataError, Failed, FeedbackError, Outcome, Prompt, Rollouts, Score
from rlaif_core.feedback import outcome_of
from rlaif_rewards.words import counted

LONGEST = 60
"""Characters of what a function logs about an answer that its reason shows."""
OWN = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
LEFT_OUT = ("prompt", "completion", "completion_ids")
"""Columns that TRL does not pass on."""


class Log:
    """What a function logs: columns with a value for each answer, and metrics of the whole batch. It ends in the
    reasons, which is where a reward source may leave a word."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._extra: dict[str, list[Any]] = {}
        self._metrics: dict[str, Any] = {}

    def extra(self, column: str, values: Sequence[Any]) -> None:
        """TRL's `log_extra`."""
        if len(values) != self._rows:
            raise FeedbackError(f"log_extra({column!r}) got {len(values)} values for {self._rows} answers")
        self._extra[column] = list(values)

    def metric(self, name: str, value: float) -> None:
        """TRL's `log_metric`."""
        self._metrics[name] = value

    def about(self, row: int) -> str:
        """What was logged about an answer, to be put behind a reason."""
        logged = {name: values[row] for name, values in self._extra.items()} | self._metrics
        return "".join(f"; {name}: {str(value)[:LONGEST]}" for name, value in logged.items())


def arguments(rollouts: Rollouts, log: Log, conversational: bool | None) -> dict[str, Any]:
    """The keyword arguments of TRL's convention.

    `conversational` None: messages where any prompt is a conversation. `trainer_state.global_step` counts updates of
    the policy, as TRL's does; how many there will be is not known here, and 0.
    """
    from transformers import TrainerState

    chat = any(prompt.messages for prompt in rollouts.prompts) if conversational is None else conversational
    names = dict.fromkeys(name for prompt in rollouts.prompts for name in prompt.meta if name not in LEFT_OUT)
    if taken := [name for name in names if name in OWN]:
        raise DataError(f"the dataset has a column {taken[0]!r}, which TRL passes itself; rename it in [prompts]")
    columns = {name: [prompt.meta.get(name) for prompt in rollouts.prompts] for name in names}
    return columns | {
        "prompts": [_messages(prompt) if chat else prompt.text for prompt in rollouts.prompts],
        "completions": [[{"role": "assistant", "content": c}] if chat else c for c in rollouts.completions],
        "completion_ids": [list(tokens) for tokens in counted(rollouts, "tokens")],
        "trainer_state": TrainerState(global_step=rollouts.policy_version),
        "log_extra": log.extra,
        "log_metric": log.metric,
    }


def called(function: Callable[..., Any], rollouts: Rollouts, conversational: bool | None) -> list[Outcome]:
    """What `function` returns, called once for all the answers: None is no opinion, NaN (TRL's None) a failure."""
    log = Log(len(rollouts))
    said = function(**arguments(rollouts, log, conversational))
    items = said.tolist() if hasattr(said, "tolist") else said
    if not isinstance(items, Sequence) or isinstance(items, str):
        raise FeedbackError(f"returned {type(said).__name__}, but must return a list, one number or None an answer")
    if len(items) != len(rollouts):
        raise FeedbackError(f"returned {len(items)} rewards for {len(rollouts)} answers")
    return [_outcome(item, row, log.about(row)) for row, item in enumerate(items)]


def _outcome(item: Any, row: int, logged: str) -> Outcome:
    if item is None:
        return Abstain(f"the function returned None{logged}")
    if isinstance(item, float) and not math.isfinite(item):
        return Failed(f"the function returned {item}{logged}")
    outcome = outcome_of(item, row)
    if isinstance(outcome, Score) and not outcome.reason:
        return Score(outcome.value, f"the function returned {outcome.value:g}{logged}", outcome.cost)
    return outcome


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    return [dict(message) for message in prompt.messages] or [{"role": "user", "content": prompt.text}]
