"""Shapes: what may become of a source's scores before they are weighted and summed.

A shape is a function of a batch of scores that keeps what it must remember between batches in its state. Rewards that
are bounded, of one scale and blind to length give a policy less to over-optimise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Literal

from rlaif_core.errors import ConfigError
from rlaif_core.feedback import Outcome, Score

if TYPE_CHECKING:
    from rlaif_core.protocols import State
    from rlaif_core.types import Prompt, Rollouts

Ask = Callable[[Sequence[tuple["Prompt", str]]], Sequence[Outcome]]
"""What the source, unshaped, says of an answer to each prompt."""
Values = dict[int, float | Outcome]


class Shape:
    """Of the rows that have a score, {row: score} -> {row: shaped score, or the outcome that takes its place}."""

    def __call__(self, scores: Mapping[int, float], rollouts: Rollouts, ask: Ask) -> Values:
        raise NotImplementedError

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class Scale(Shape):
    """by * score + plus."""

    def __init__(self, by: float = 1.0, plus: float = 0.0) -> None:
        _finite("scale", by=by, plus=plus)
        self._by, self._plus = by, plus

    def __call__(self, scores: Mapping[int, float], rollouts: Rollouts, ask: Ask) -> Values:
        return {row: self._by * score + self._plus for row, score in scores.items()}


class Clip(Shape):
    """The score, but never below `low` or above `high`."""

    def __init__(self, low: float, high: float) -> None:
        if not low < high:
            raise ConfigError(f"shape 'clip': low is {low:g} and high {high:g}; low must be less")
        self._low, self._high = low, high

    def __call__(self, scores: Mapping[int, float], rollouts: Rollouts, ask: Ask) -> Values:
        return {row: min(max(score, self._low), self._high) for row, score in scores.items()}


class Standardise(Shape):
    """(score - mean) / standard deviation, within +-`clip` (0: unclipped).

    Both are of all scores so far, the batch's own included, and the same for all of a batch, so that siblings keep
    their order. What was known before a batch counts `memory` of what it did (1: no batch is ever forgotten). While
    all scores have been alike it is 0.
    """

    def __init__(self, clip: float = 5.0, memory: float = 1.0) -> None:
        if not (0 <= clip < math.inf and 0 <= memory <= 1):
            raise ConfigError(
                f"shape 'standardise': clip is {clip:g}, memory {memory:g}; clip must be 0 (off) or more, memory 0 to 1"
            )
        self._clip, self._memory = clip or math.inf, memory
        self.count, self.mean, self.squares = 0.0, 0.0, 0.0  # squares: sum of squared deviations from the mean

    def __call__(self, scores: Mapping[int, float], rollouts: Rollouts, ask: Ask) -> Values:
        if not scores:
            return {}
        self.count, self.mean, self.squares = merged(
            (self._memory * self.count, self.mean, self._memory * self.squares), list(scores.values())
        )
        spread = math.sqrt(self.squares / self.count)
        if spread <= 1e-12 * abs(self.mean):  # nothing but rounding
            return dict.fromkeys(scores, 0.0)
        return {row: min(max((it - self.mean) / spread, -self._clip), self._clip) for row, it in scores.items()}

    def state_dict(self) -> State:
        return {"count": self.count, "mean": self.mean, "squares": self.squares}


class Bounded(Shape):
    """sigmoid((score - reference) / temperature): within (0, 1), 1/2 at the reference, steepest there (preference as
    reward, PAR: Fu et al. 2025, Reward shaping to mitigate reward hacking in RLHF).

    reference: a number; "start", the mean of the run's first batch, which the policy wrote as it was; "first", for each
    prompt the mean of the first answers to it (of a prompt that comes once: of its own group); "column", what the
    source says of the answer in the prompt's `column`. All but the number make it blind to a constant in the score.
    """

    def __init__(
        self,
        reference: float | Literal["start", "first", "column"] = "start",
        column: str = "",
        temperature: float = 1.0,
    ) -> None:
        if not 0 < temperature < math.inf:
            raise ConfigError(f"shape 'bounded': temperature is {temperature:g}, but must be above 0")
        if bool(column) != (reference == "column"):
            raise ConfigError("shape 'bounded': 'column' names a column where reference = \"column\", and only there")
        if not isinstance(reference, str):
            _finite("bounded", reference=reference)
        self._reference, self._column, self._temperature = reference, column, temperature
        self.references: dict[str, float] = {}

    @property
    def asks(self) -> bool:
        """Whether it has to ask the source about another answer."""
        return self._reference == "column"

    def __call__(self, scores: Mapping[int, float], rollouts: Rollouts, ask: Ask) -> Values:
        lacking: dict[str, Outcome] = {}
        prompts = {row: rollouts.prompts[row] for row in scores}
        if self._reference == "start" and scores:
            self.references.setdefault("", fmean(scores.values()))
        elif self._reference == "first":
            for its in {prompt.id for prompt in prompts.values()} - self.references.keys():
                self.references[its] = fmean(score for row, score in scores.items() if prompts[row].id == its)
        elif self._reference == "column":
            new = {its.id: (its, self._answer(its)) for its in prompts.values() if its.id not in self.references}
            for its, said in zip(new, ask(list(new.values())), strict=True):
                if isinstance(said, Score):
                    self.references[its] = said.value
                else:
                    lacking[its] = replace(said, reason=f"of the answer to compare with: {said.reason}", cost=0.0)
        return {row: lacking.get(prompts[row].id) or self._squashed(it, prompts[row]) for row, it in scores.items()}

    def _squashed(self, score: float, prompt: Prompt) -> float:
        reference = self._reference
        if isinstance(reference, str):
            reference = self.references["" if reference == "start" else prompt.id]
        return sigmoid((score - reference) / self._temperature)

    def _answer(self, prompt: Prompt) -> str:
        answer = prompt.meta.get(self._column)
        if not isinstance(answer, str):
            there = ", ".join(map(str, prompt.meta)) or "none"
            raise ConfigError(
                f"shape 'bounded': prompt {prompt.id!r} has no text in column {self._column!r}. Columns: {there}"
            )
        return answer

    def state_dict(self) -> State:
        return {"references": dict(self.references)}

    def load_state_dict(self, state: State) -> None:
        self.references = dict(state["references"])


class LengthFree(Shape):
    """The score less what goes with the answer's length, in `unit`, by the least-squares line through the differences
    within each `within` ("group": answers to one prompt; "batch": all); its mean there stays.

    What a source pays by the token is gone to the last bit: adding c * length to its scores changes no difference
    within a group. So is what longer answers deserved. What earlier batches told counts `memory` of what it did (0: the
    batch alone, which fits few answers too well).
    """

    def __init__(
        self,
        unit: Literal["tokens", "words", "characters"] = "tokens",
        within: Literal["group", "batch"] = "group",
        memory: float = 0.9,
    ) -> None:
        if not 0 <= memory <= 1:
            raise ConfigError(f"shape 'length_free': memory is {memory:g}, but must be from 0 to 1")
        self._unit, self._within, self._memory = unit, within, memory
        self.products, self.squares = 0.0, 0.0  # of deviations: length * score, length * length

    def __call__(self, scores: Mapping[int, float], rollouts: Rollouts, ask: Ask) -> Values:
        if not scores:
            return {}
        lengths, groups = self._lengths(rollouts), rollouts.group.tolist()
        beside: dict[int, list[int]] = {}
        for row in scores:
            beside.setdefault(groups[row] if self._within == "group" else 0, []).append(row)
        means = {row: fmean(lengths[its] for its in rows) for rows in beside.values() for row in rows}
        levels = {row: fmean(scores[its] for its in rows) for rows in beside.values() for row in rows}
        away = {row: lengths[row] - means[row] for row in scores}
        self.products *= self._memory
        self.squares *= self._memory
        self.products += math.fsum(away[row] * (scores[row] - levels[row]) for row in scores)
        self.squares += math.fsum(it * it for it in away.values())
        slope = self.products / self.squares if self.squares else 0.0
        return {row: score - slope * away[row] for row, score in scores.items()}

    def _lengths(self, rollouts: Rollouts) -> list[int]:
        if self._unit == "tokens":
            counts: list[int] = rollouts.mask.sum(1).tolist()
            return counts
        return [len(text.split() if self._unit == "words" else text) for text in rollouts.completions]

    def state_dict(self) -> State:
        return {"products": self.products, "squares": self.squares}


def merged(known: tuple[float, float, float], values: Sequence[float]) -> tuple[float, float, float]:
    """(count, mean, sum of squared deviations) of what is `known` together with `values`, without cancellation
    (Chan, Golub and LeVeque 1979)."""
    count, mean, squares = known
    middle, total = fmean(values), count + len(values)
    gap = middle - mean
    squares += math.fsum((value - middle) ** 2 for value in values) + gap * gap * count * len(values) / total
    return total, mean + gap * len(values) / total, squares


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), which overflows nowhere."""
    small = math.exp(-abs(x))
    return (1 if x >= 0 else small) / (1 + small)


def _finite(kind: str, **numbers: float) -> None:
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise ConfigError(f"shape {kind!r}: {name} is {value}, but must be a finite number")
