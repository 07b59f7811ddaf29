"""Where a dataset row keeps recorded answers and their scores, for whoever replays them or reads their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlaif_core import DataError, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Columns of the dataset: `answers` holds a list of texts; where it is not given, `chosen` and `rejected` one each.

    An answer is a text, or messages whose last is the answer, the assistant's.
    """

    answers: str = ""
    chosen: str = "chosen"
    rejected: str = "rejected"

    def texts(self, prompt: Prompt) -> list[str]:
        """The recorded answers to `prompt`, in the order of the row: chosen before rejected."""
        if self.answers:
            answers = as_list(prompt, self.answers)
            if not answers:
                raise DataError(f"prompt {prompt.id!r}: column {self.answers!r} holds no answer")
            return [_text(prompt, self.answers, answer) for answer in answers]
        return [_text(prompt, name, column(prompt, name)) for name in (self.chosen, self.rejected)]


def column(prompt: Prompt, name: str) -> Any:
    """The value of a column in the prompt's row."""
    if name not in prompt.meta:
        there = ", ".join(map(str, prompt.meta)) or "none besides the prompt"
        raise DataError(f"prompt {prompt.id!r}: its row has no column {name!r}; columns: {there}")
    return prompt.meta[name]


def as_list(prompt: Prompt, name: str) -> list[Any]:
    """The value of a column that must be a list."""
    value = column(prompt, name)
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise DataError(f"prompt {prompt.id!r}: column {name!r} must be a list, but is {value!r:.80}")
    return list(value)


def _text(prompt: Prompt, name: str, answer: Any) -> str:
    if isinstance(answer, Sequence) and not isinstance(answer, str) and answer and isinstance(answer[-1], Mapping):
        if (role := answer[-1].get("role") or "assistant") != "assistant":
            raise DataError(
                f"prompt {prompt.id!r}: the last message of an answer in column {name!r} has the role {role!r}, but "
                "must be the assistant's; cut off what comes behind the answer, or name its role so, with [prompts] map"
            )
        answer = answer[-1].get("content")
    if not isinstance(answer, str):
        raise DataError(f"prompt {prompt.id!r}: an answer in column {name!r} is not text, but {answer!r:.80}")
    if not answer.strip():
        raise DataError(f"prompt {prompt.id!r}: an answer in column {name!r} is empty; leave the row out")
    return answer
