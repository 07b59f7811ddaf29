"""The answers that are labelled: recorded in the dataset, or drawn from a policy and kept in the journal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rlaif_core import ConfigError, DataError, Prompt
from rlaif_core.errors import suggest
from rlaif_core.types import HALF_CHARACTER
from rlaif_judges.label.config import AnswersTable
from rlaif_judges.label.journal import Journal, Key

LISTS = ("answers", "completions")
SINGLE = (("chosen", "rejected"), ("completion",))
"""Where recorded answers are looked for, unless `[answers] columns` says where they are."""


class Answers(ABC):
    """Of each prompt its answers, in an order that stays."""

    def __init__(self) -> None:
        self._last: tuple[Prompt | None, tuple[str, ...]] = (None, ())

    @abstractmethod
    def count(self, prompt: Prompt) -> int:
        """How many there are, or will be."""

    def of(self, prompt: Prompt) -> tuple[str, ...]:
        """Their texts."""
        if self._last[0] is not prompt:  # whoever goes through the prompts asks for the same ones several times
            self._last = (prompt, self.read(prompt))
        return self._last[1]

    @abstractmethod
    def read(self, prompt: Prompt) -> tuple[str, ...]:
        """The same from where they are."""


class Recorded(Answers):
    """Answers in the columns of the prompt's row; all rows are read once before anything is asked."""

    def __init__(self, table: AnswersTable, prompts: Iterable[Prompt]) -> None:
        super().__init__()
        self.columns: tuple[str, ...] | None = None
        if table.columns:
            self.columns = (table.columns,) if isinstance(table.columns, str) else tuple(table.columns)
        for prompt in prompts:
            self.columns = self.columns or _found(prompt)
            self.of(prompt)

    @property
    def preferred(self) -> bool:
        """Whether the first answer is recorded as the better one."""
        return self.columns == SINGLE[0]

    def count(self, prompt: Prompt) -> int:
        return len(self.of(prompt))

    def read(self, prompt: Prompt) -> tuple[str, ...]:
        assert self.columns is not None
        values = [column(prompt, name) for name in self.columns]
        if len(values) == 1 and _is_list(values[0]) and not _is_message(values[0][:1]):
            if not values[0]:
                raise DataError(f"prompt {prompt.id!r}: column {self.columns[0]!r} holds no answer; leave the row out")
            return tuple(_text(prompt, self.columns[0], value) for value in values[0])
        return tuple(_text(prompt, name, value) for name, value in zip(self.columns, values, strict=True))


class Drawn(Answers):
    """Answers of a policy, as the journal has them."""

    def __init__(self, table: AnswersTable, journal: Journal) -> None:
        super().__init__()
        self._samples, self._journal = table.samples, journal

    def count(self, prompt: Prompt) -> int:
        return self._samples

    def read(self, prompt: Prompt) -> tuple[str, ...]:
        record = self._journal.get(drawn_key(prompt))
        assert record is not None, "answers are drawn before they are judged"
        return tuple(record["answers"])


def drawn_key(prompt: Prompt) -> Key:
    """Under which the journal keeps the answers drawn to a prompt."""
    return "answers", prompt.id


def draw(policy: Any, prompts: Sequence[Prompt], table: AnswersTable, seed: int) -> Iterator[tuple[str, ...]]:
    """`samples` answers to each prompt, which depend on the seed, the prompt and their number alone."""
    rollouts = policy.sampler(seed=seed, step=0, group=table.samples).sample(prompts, table.sampling)
    texts = iter(rollouts.completions)
    for _ in prompts:
        yield tuple(next(texts) for _ in range(table.samples))


def column(prompt: Prompt, name: str) -> Any:
    """The value of a column in the prompt's row."""
    if name not in prompt.meta:
        there = ", ".join(map(str, prompt.meta)) or "none besides the prompt"
        known: Mapping[str, Any] = prompt.meta
        raise DataError(f"prompt {prompt.id!r}: no column {name!r}{suggest(name, known) or '.'} Columns: {there}")
    return prompt.meta[name]


def reference(prompt: Prompt, name: str) -> str:
    """The answer known to be good in a column; "" where it is null, or where no column is named."""
    value = column(prompt, name) if name else None
    return "" if value is None else _text(prompt, name, value)


def _found(prompt: Prompt) -> tuple[str, ...]:
    for names in [*((name,) for name in LISTS), *SINGLE]:
        if all(name in prompt.meta for name in names) and (names[0] not in LISTS or _is_list(prompt.meta[names[0]])):
            return names
    there = ", ".join(map(str, prompt.meta)) or "none besides the prompt"
    raise ConfigError(
        f"no answers are recorded in prompt {prompt.id!r} (columns: {there}); name them with [answers] columns, or "
        "draw some with [answers] samples and a [policy]"
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_message(values: Sequence[Any]) -> bool:
    return bool(values) and isinstance(values[0], Mapping)


def _text(prompt: Prompt, name: str, value: Any) -> str:
    """An answer: a text, or messages whose last is the assistant's."""
    what = f"prompt {prompt.id!r}: an answer in column {name!r}"
    if _is_list(value) and _is_message(value[-1:]):
        if (role := value[-1].get("role")) != "assistant":
            raise DataError(f"{what} ends with a message of {role!r}, but must with the assistant's; see [prompts] map")
        value = value[-1].get("content")
    if not isinstance(value, str):
        raise DataError(f"{what} is {value!r:.60}, but must be a text, or messages; leave the row out by [prompts] map")
    if HALF_CHARACTER.search(value):
        raise DataError(f"{what} holds half a character (a lone surrogate); mend the dataset")
    return value
