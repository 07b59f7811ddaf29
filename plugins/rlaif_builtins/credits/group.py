"""Each answer against the others to the same prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_builtins.credits.answers import Truncated, over, siblings, spread, totals
from rlaif_core import Credit, Critic, Experience, Feedback, Rollouts, Score


@dataclass(frozen=True, kw_only=True)
class Group(Credit):
    """Advantage (R - mean) / std over a group's counted answers, the same for every token (Shao et al., 2024, GRPO).

    `scale` "none" leaves out the division (Liu et al., 2025, Dr. GRPO). The std is that of the population, or with
    `unbiased` that of a sample (n - 1). Where the rewards do not differ by more than float32 noise, or there is only
    one, the advantage is exactly 0. With `per_source`, each source is compared within the group by itself before the
    weighted sum, so that none drowns the others by its scale (Liu et al., 2026, GDPO). What the optimiser contributes
    (a KL penalty) is centred but never divided: a flat judge must not blow a small penalty up to a full advantage.
    `truncated` "drop" leaves out answers that the length limit cut off. Returns are the rewards themselves.
    """

    scale: Literal["std", "none"] = "std"
    unbiased: bool = False
    per_source: bool = False
    truncated: Truncated = "score"
    compares = True

    def assign(self, rollouts: Rollouts, feedback: Feedback, critic: Critic) -> Experience:
        values, counted = totals(rollouts, feedback, self.truncated)
        group, mask = siblings(rollouts), rollouts.mask
        advantages = {
            channel: self._by_source(feedback, channel, counted, group)
            if self.per_source
            else self._together(feedback, channel, counted, group)
            for channel in values
        }
        return Experience(
            rollouts=rollouts,
            feedback=feedback,
            advantages={channel: spread(its, mask) for channel, its in advantages.items()},
            returns={channel: spread(its, mask) for channel, its in values.items()},
            counted=counted.to(mask.device),
        )

    def _together(self, feedback: Feedback, channel: str, counted: Tensor, group: Tensor) -> Tensor:
        """[B] f64: the sum of the configured sources compared; what the optimiser contributes keeps its own scale."""
        asked = feedback.totals(group, channel, contributed=False, exact=True)[0].where(counted, 0.0)
        added = torch.zeros_like(asked)
        for name, heard in feedback.heard(group, channel)[0].items():
            if name in feedback.contributed:
                added += feedback.weights[name] * _scores(feedback, name).where(heard & counted, 0.0)
        return self._compared(asked, counted, group) + _centred(added, counted, group)

    def _compared(self, values: Tensor, counted: Tensor, group: Tensor) -> Tensor:
        """[B] f64 -> [B]: the advantages; 0 where not counted."""
        return rk.group_normalise(values, group, counted, scale=self.scale, unbiased=self.unbiased)

    def _by_source(self, feedback: Feedback, channel: str, counted: Tensor, group: Tensor) -> Tensor:
        """The weighted sum of each source's own comparison; one that lacks a counted sibling sits out that group."""
        total = torch.zeros(len(counted), dtype=torch.float64)
        for name in feedback.sources(channel):
            said = feedback.outcomes[name]
            values = _scores(feedback, name)
            silent = counted & ~torch.tensor([isinstance(its, Score) for its in said])
            heard = counted & (over(silent.double(), group) == 0)
            compare = _centred if name in feedback.contributed else self._compared
            total += feedback.weights[name] * compare(values, heard, group)
        return total


def _scores(feedback: Feedback, name: str) -> Tensor:
    """[B] f64: what a source scored, unweighted; 0 where it has no score."""
    said = feedback.outcomes[name]
    return torch.tensor([its.value if isinstance(its, Score) else 0.0 for its in said], dtype=torch.float64)


def _centred(values: Tensor, counted: Tensor, group: Tensor) -> Tensor:
    """[B] f64 -> [B]: each counted answer less the mean of its group's counted answers; 0 where not counted."""
    return rk.group_normalise(values, group, counted, scale="none", noise=0.0)
