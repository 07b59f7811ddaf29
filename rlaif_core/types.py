"""The values that travel between the five verbs: frozen, keyword-only, checked when made.

Shapes: B rollouts, T tokens of the whole sequence (prompt, answers, later turns). A stage never adds a field to an
earlier value; it makes the next one.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from rlaif_core.errors import DataError, FeedbackError, PluginError
from rlaif_core.feedback import Feedback

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Message = Mapping[str, str]
HALF_CHARACTER = re.compile("[\ud800-\udfff]")
Finish = Literal["stop", "length"]


def _frozen(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping))


def _check_groups(group: Sequence[int], ids: Sequence[str]) -> None:
    for (number, one), (same, other) in itertools.pairwise(sorted({*zip(group, ids, strict=True)})):
        if number == same:
            raise PluginError(
                f"Rollouts.group {number} holds answers to two prompts, {one!r} and {other!r}; "
                "number the answers to one prompt alike, and no others"
            )


def _check_is_tensor(owner: str, name: str, value: object) -> None:
    import torch

    if not isinstance(value, torch.Tensor):
        raise PluginError(
            f"{owner}.{name} is a {type(value).__name__}, but must be a tensor; the stage that built it is at fault"
        )


def _check_tensor(owner: str, name: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    _check_is_tensor(owner, name, tensor)
    if tuple(tensor.shape) != shape or tensor.dtype != dtype:
        raise PluginError(
            f"{owner}.{name} is {tuple(tensor.shape)} {tensor.dtype}, but must be {shape} {dtype}; "
            "the stage that built it is at fault"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the policy is asked: plain `text`, or chat `messages` of `{"role", "content"}`.

    `text` is always readable: where only messages are given it is the last one's content. `meta` holds the other
    columns of the dataset row.
    """

    id: str
    text: str = ""
    messages: tuple[Message, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id:
            raise DataError("a prompt needs a non-empty id")
        for message in self.messages:
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
                raise DataError(f"prompt {self.id!r}: a message must have 'role' and 'content' texts, got {message!r}")
            if not isinstance(message.get("content"), str):
                raise DataError(f"prompt {self.id!r}: the content of a {message['role']!r} message is not text")
        if self.messages and not self.text:
            object.__setattr__(self, "text", self.messages[-1]["content"])
        if not isinstance(self.text, str) or not self.text:
            raise DataError(f"prompt {self.id!r} is empty; give it text or messages")
        for text in (self.id, self.text, *(message["content"] for message in self.messages)):
            if HALF_CHARACTER.search(text):
                raise DataError(f"prompt {self.id!r} holds half a character (a lone surrogate); mend the dataset")
        object.__setattr__(self, "messages", tuple(_frozen(message) for message in self.messages))
        object.__setattr__(self, "meta", _frozen(self.meta))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Answers of the policy, as tokens and as text.

    tokens [B,T] int64; attend [B,T] bool, not padding; mask [B,T] bool, chosen by the policy (the first end-of-sequence
    token included); logp [B,T] f32, log-probability of each chosen token under the distribution it was sampled from,
    0 elsewhere; group [B] int64, equal for answers to one prompt. `finish` says why each answer ended. `decisions`
    holds what else was chosen, each value a tensor [B, ...] under its name with the log-probability [B] under
    `name + "/logp"`. `temperature` and `kept` describe the sampled distribution: with a truncated support, kept
    [B,T,K] int32 lists the token ids that could be drawn, padded with -1 (all of them where nothing was truncated).
    `recorded`: the answers were given and not drawn, so that what is estimated over them does not hold for the policy.
    """

    prompts: tuple[Prompt, ...]
    completions: tuple[str, ...]
    tokens: Tensor
    attend: Tensor
    mask: Tensor
    logp: Tensor
    group: Tensor
    finish: tuple[Finish, ...]
    decisions: Mapping[str, Tensor] = field(default_factory=dict)
    policy_version: int = 0
    temperature: float = 1.0
    kept: Tensor | None = None
    recorded: bool = False

    def __post_init__(self) -> None:
        import torch

        for name in ("prompts", "completions", "finish"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "decisions", _frozen(self.decisions))
        rows = len(self.prompts)
        if rows == 0:
            raise PluginError("Rollouts are empty; an action must return at least one answer")
        for name in ("completions", "finish"):
            if len(getattr(self, name)) != rows:
                raise PluginError(f"Rollouts hold {rows} prompts but {len(getattr(self, name))} {name}")
        _check_is_tensor("Rollouts", "tokens", self.tokens)
        if self.tokens.dim() != 2:
            raise PluginError(f"Rollouts.tokens has {self.tokens.dim()} dimensions, but must be [B,T]")
        shape = (rows, int(self.tokens.shape[1]))
        for name, dtype in (("tokens", torch.int64), ("attend", torch.bool), ("mask", torch.bool)):
            _check_tensor("Rollouts", name, getattr(self, name), shape, dtype)
        _check_tensor("Rollouts", "logp", self.logp, shape, torch.float32)
        _check_tensor("Rollouts", "group", self.group, (rows,), torch.int64)
        _check_groups(self.group.tolist(), [prompt.id for prompt in self.prompts])
        if bool((self.mask & ~self.attend).any()):
            raise PluginError("Rollouts.mask marks padding as chosen; mask must lie within attend")
        if bool(self.mask[:, :1].any()):
            raise PluginError(
                "Rollouts.mask marks the first token as chosen, but nothing precedes it to predict it from"
            )
        if bool((self.logp[~self.mask] != 0).any()):
            raise PluginError("Rollouts.logp must be 0 wherever mask is False")
        if not bool(torch.isfinite(self.logp).all()):
            raise PluginError("Rollouts.logp is not finite; the sampler drew a token of probability 0 or produced NaN")
        if unknown := set(self.finish) - {"stop", "length"}:
            raise PluginError(f"Rollouts.finish holds {sorted(unknown)}; each must be 'stop' or 'length'")
        if not self.temperature > 0:
            raise PluginError(f"Rollouts.temperature is {self.temperature}, but must be above 0")

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: Sequence[int]) -> Rollouts:
        """Some of the rollouts, in the given order."""
        index = self.group.new_tensor(rows)
        return Rollouts(
            prompts=tuple(self.prompts[row] for row in rows),
            completions=tuple(self.completions[row] for row in rows),
            tokens=self.tokens[index],
            attend=self.attend[index],
            mask=self.mask[index],
            logp=self.logp[index],
            group=self.group[index],
            finish=tuple(self.finish[row] for row in rows),
            decisions={name: values[index] for name, values in self.decisions.items()},
            policy_version=self.policy_version,
            temperature=self.temperature,
            kept=None if self.kept is None else self.kept[index],
            recorded=self.recorded,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Experience:
    """What the optimiser learns from: advantages and returns per channel, [B,T] f32 each, 0 off-mask.

    `counted` [B] bool says which answers take part in the loss (default: all); the others are in no denominator.
    `focus` scales the update of named modules (empty: all alike).
    """

    rollouts: Rollouts
    feedback: Feedback
    advantages: Mapping[str, Tensor]
    returns: Mapping[str, Tensor] = field(default_factory=dict)
    focus: Mapping[str, float] = field(default_factory=dict)
    counted: Tensor | None = None

    def __post_init__(self) -> None:
        import torch

        mask = self.rollouts.mask
        if self.counted is None:
            object.__setattr__(self, "counted", torch.ones(len(self.rollouts), dtype=torch.bool, device=mask.device))
        _check_tensor("Experience", "counted", self.counted, (len(self.rollouts),), torch.bool)  # type: ignore[arg-type]
        for kind in ("advantages", "returns"):
            if not isinstance(getattr(self, kind), Mapping):
                raise PluginError(
                    f"Experience.{kind} is a {type(getattr(self, kind)).__name__}, but must map each channel to a "
                    "tensor [B,T]; the stage that built it is at fault"
                )
            for channel, values in getattr(self, kind).items():
                where = f"{kind}[{channel!r}]"
                _check_tensor("Experience", where, values, tuple(mask.shape), torch.float32)
                if not bool(torch.isfinite(values).all()):
                    raise FeedbackError(f"Experience.{where} is not finite; the credit assignment produced NaN or inf")
                if bool((values[~mask] != 0).any()):
                    raise PluginError(f"Experience.{where} must be 0 wherever the rollouts' mask is False")
            object.__setattr__(self, kind, _frozen(getattr(self, kind)))
        object.__setattr__(self, "focus", _frozen(self.focus))

    @property
    def mask(self) -> Tensor:
        """[B,T] bool: chosen tokens of the answers that count; what a loss may look at."""
        assert self.counted is not None
        return self.rollouts.mask & self.counted[:, None]

    def take(self, rows: Sequence[int]) -> Experience:
        """The experience of some answers only."""
        assert self.counted is not None
        index = self.counted.new_tensor(rows, dtype=self.rollouts.group.dtype)
        return Experience(
            rollouts=self.rollouts.take(rows),
            feedback=self.feedback.take(rows),
            advantages={channel: values[index] for channel, values in self.advantages.items()},
            returns={channel: values[index] for channel, values in self.returns.items()},
            focus=self.focus,
            counted=self.counted[index],
        )

    def split(self, parts: int) -> list[Experience]:
        """Shares of whole groups, in order and as even as can be; a group is never torn apart."""
        if parts == 1:
            return [self]
        labels = list(dict.fromkeys(self.rollouts.group.tolist()))
        if parts > len(labels):
            raise DataError(
                f"a batch of {len(labels)} groups cannot be shared out {parts} ways; "
                "lower [run] updates, or the optimiser's minibatches"
            )
        bounds = [len(labels) * number // parts for number in range(parts + 1)]
        shares = [set(labels[start:end]) for start, end in itertools.pairwise(bounds)]
        groups = self.rollouts.group.tolist()
        return [self.take([row for row, label in enumerate(groups) if label in share]) for share in shares]


class Metrics(Mapping[str, float]):
    """Named finite numbers of one step, read-only."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, float] | Iterable[tuple[str, float]] = ()) -> None:
        self._values = {str(name): float(value) for name, value in dict(values).items()}
        for name, value in self._values.items():
            if not math.isfinite(value):
                raise PluginError(f"metric {name!r} is {value}; whoever reports it must keep it finite")

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Metrics({self._values!r})"
