"""The reward where it was earned: at the end, and from there backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import rlaif_kernels as rk
from rlaif_builtins.credits.answers import Truncated, token_rewards, totals
from rlaif_core import ConfigError, Credit, Critic, Experience, Feedback, Rollouts


@dataclass(frozen=True, kw_only=True)
class Terminal(Credit):
    """Advantage: the return to go, that is the reward at the last token, `gamma` times less for every token before it.

    What sources score by token counts where it is given. `baseline` "mean" subtracts the mean reward of the batch's
    counted answers (it includes the answer itself, which shortens the gradient by 1/n and does not turn it). `whiten`
    makes the advantages of counted tokens mean 0 and variance 1. `truncated` "drop" leaves out answers that the length
    limit cut off.
    """

    gamma: float = 1.0
    baseline: Literal["none", "mean"] = "none"
    whiten: bool = False
    truncated: Truncated = "score"

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise ConfigError(f"terminal: gamma is {self.gamma}, but must be from 0 to 1")

    def assign(self, rollouts: Rollouts, feedback: Feedback, critic: Critic) -> Experience:
        values, counted = totals(rollouts, feedback, self.truncated)
        counted = counted.to(rollouts.mask.device)
        mask = rollouts.mask & counted[:, None]
        advantages, returns = {}, {}
        for channel, its in values.items():
            rewards = token_rewards(rollouts, feedback, channel, its).where(mask, 0.0)
            returns[channel] = advantage = rk.discounted_returns(rewards, mask, gamma=self.gamma)
            if self.baseline == "mean":
                advantage = (advantage - rewards.sum() / counted.sum().clamp(min=1)).where(mask, 0.0)
            advantages[channel] = rk.masked_whiten(advantage, mask) if self.whiten else advantage
        return Experience(rollouts=rollouts, feedback=feedback, advantages=advantages, returns=returns, counted=counted)
