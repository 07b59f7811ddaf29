"""Each answer against the mean of its siblings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rlaif_builtins.credits.answers import Truncated, lowest, over, siblings, spread, totals
from rlaif_core import Credit, Critic, Experience, Feedback, Rollouts


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(Credit):
    """Advantage R - mean of the other counted answers' R, the same for every token (Ahmadian et al., 2024, RLOO).

    It needs two counted answers: a group with fewer is left out of the step. `truncated` "drop" leaves out answers that
    the length limit cut off. Returns are the rewards themselves.
    """

    truncated: Truncated = "score"
    compares = True

    def assign(self, rollouts: Rollouts, feedback: Feedback, critic: Critic) -> Experience:
        values, counted = totals(rollouts, feedback, self.truncated)
        group, mask = siblings(rollouts), rollouts.mask
        size = over(counted.double(), group)
        counted = counted & (size >= 2)

        def advantage(channel: str) -> Tensor:
            # Reckoned from the lowest, so that equal rewards differ by 0 and not by how their sum was rounded.
            above = (values[channel] - lowest(values[channel], counted, group)).where(counted, 0.0)
            others = (over(above, group) - above) / (size - 1).clamp(min=1)
            return (above - others).where(counted, 0.0)

        return Experience(
            rollouts=rollouts,
            feedback=feedback,
            advantages={channel: spread(advantage(channel), mask) for channel in values},
            returns={channel: spread(its.where(counted, 0.0), mask) for channel, its in values.items()},
            counted=counted.to(mask.device),
        )
