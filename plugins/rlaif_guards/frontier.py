"""The curve of what was meant over how far the policy has gone, as it is when a proxy is over-optimised.

With d = sqrt(KL), what best-of-n gains is d (alpha - beta d), and what reinforcement learning gains d (alpha - beta log
d): Gao, Schulman and Hilton 2022, Scaling laws for reward model overoptimization.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Form = Literal["best_of_n", "rl"]


@dataclass(frozen=True, slots=True)
class Frontier:
    """A fitted curve; `error` is the root mean square of what it leaves over, in the units of the gain."""

    form: Form
    alpha: float
    beta: float
    error: float = 0.0

    def gain(self, d: float) -> float:
        """The gain at distance d = sqrt(KL), in sqrt(nats)."""
        if d <= 0:
            return 0.0
        return d * (self.alpha - self.beta * (d if self.form == "best_of_n" else math.log(d)))

    @property
    def peak(self) -> float:
        """The distance d at which the gain is largest: alpha / (2 beta), or exp(alpha / beta - 1); infinite where the
        curve never turns."""
        if self.beta <= 0:
            return math.inf
        if self.form == "best_of_n":
            return self.alpha / (2 * self.beta)
        return math.exp(min(self.alpha / self.beta - 1, 700.0))


def fitted(form: Form, distances: Sequence[float], gains: Sequence[float]) -> Frontier:
    """The curve of least squares through gains at distances above 0, of which at least two differ."""
    d, y = (np.array(its, float) for its in (distances, gains))
    y, d = y[d > 0], d[d > 0]
    if len(np.unique(d)) < 2:
        raise ValueError(f"a frontier takes two distances above 0 at least, but there are {len(np.unique(d))}")
    second = -d * (d if form == "best_of_n" else np.log(d))
    (alpha, beta), *_ = np.linalg.lstsq(np.stack([d, second], 1), y, rcond=None)
    left = y - alpha * d - beta * second
    return Frontier(form, float(alpha), float(beta), float(np.sqrt(np.mean(left**2))))
