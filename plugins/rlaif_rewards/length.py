"""A length that answers should have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlaif_core import ConfigError, Outcome, Rollouts, Score
from rlaif_rewards.words import Unit, counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """Penalty for a wrong length: 0 within the wanted band, negative outside, never positive.

    With `target` T* and `tolerance` d, an answer of length T gets -max(0, |T - T*| - d) / T*. With `min` or `max`
    instead (0: no such limit), it gets the distance to the limit that it breaks, divided by that limit. Too short costs
    at most 1; too long has no bound, unless there is a `buffer` below `max`: then it gets (max - buffer - T) / buffer
    from max - buffer on, and -1 from max on (the soft overlong punishment of DAPO; Yu et al., 2025, eq. 13).
    A price on every unit is `max = 1` with a weight. `unit` is "tokens" (those that the policy chose, the end of
    sequence included), "words" or "characters". In a cost channel, give it a negative weight.
    """

    target: int = 0
    tolerance: int = 0
    min: int = 0
    max: int = 0
    buffer: int = 0
    unit: Unit = "tokens"

    def __post_init__(self) -> None:
        limits = (self.target, self.tolerance, self.min, self.max, self.buffer)
        if any(limit < 0 for limit in limits):
            raise ConfigError("length: target, tolerance, min, max and buffer cannot be negative")
        if bool(self.target) == bool(self.min or self.max):
            raise ConfigError("length: give either target (with tolerance) or min and max, above 0")
        if self.tolerance and not self.target:
            raise ConfigError("length: tolerance belongs to target; widen min and max instead")
        if self.max and self.min > self.max:
            raise ConfigError(f"length: min {self.min} is above max {self.max}")
        if self.buffer and self.buffer > self.max - self.min:
            raise ConfigError(f"length: buffer {self.buffer} does not fit between min {self.min} and max {self.max}")

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        return [self._outcome(len(items)) for items in counted(rollouts, self.unit)]

    def _outcome(self, length: int) -> Score:
        low = self.target - self.tolerance if self.target else self.min
        high = self.target + self.tolerance if self.target else self.max - self.buffer if self.max else math.inf
        if length < low:
            return Score((length - low) / (self.target or self.min), f"{length} {self.unit}, {low - length} too few")
        if length > high and self.buffer:
            return Score(max((high - length) / self.buffer, -1.0), f"{length} {self.unit}, {self.max} being the limit")
        if length > high:
            return Score((high - length) / (self.target or self.max), f"{length} {self.unit}, {length - high} too many")
        return Score(0.0, f"{length} {self.unit}, as wanted")
