"""Generalised advantage estimation with the optimiser's critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_builtins.credits.answers import last_chosen, spread, token_rewards, totals
from rlaif_core import ConfigError, Credit, Critic, Experience, Feedback, Rollouts, TrainingError


@dataclass(frozen=True, kw_only=True)
class Gae(Credit):
    """Sum of (gamma lam)^k delta, delta = r + gamma V' - V, over an answer's chosen tokens (Schulman et al., 2016).

    The reward stands at the last chosen token; what sources score by token stands where it is given. An answer cut off
    by the length limit is, by `truncated`: "score", over, its score the last reward; "bootstrap", unfinished, so that
    the critic's value of what would have followed takes the place of its score; "drop", left out. `whiten` makes the
    advantages of counted tokens mean 0 and variance 1, after the returns (the critic's targets) are formed.
    The critic values the channel "reward"; costs have no critic and get their returns to go less the batch's mean cost.
    """

    gamma: float = 1.0
    lam: float = 0.95
    truncated: Literal["score", "bootstrap", "drop"] = "score"
    whiten: bool = True
    needs = frozenset({"values"})

    def __post_init__(self) -> None:
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"gae: {name} is {getattr(self, name)}, but must be from 0 to 1")

    def assign(self, rollouts: Rollouts, feedback: Feedback, critic: Critic) -> Experience:
        values, counted = totals(rollouts, feedback, self.truncated)
        counted = counted.to(rollouts.mask.device)
        mask = rollouts.mask & counted[:, None]
        advantages, returns = {}, {}
        for channel, its in values.items():
            if channel == "reward":
                advantage, returns[channel] = self._with_critic(rollouts, feedback, critic, its, mask)
            else:
                rewards = token_rewards(rollouts, feedback, channel, its).where(mask, 0.0)
                returns[channel] = rk.discounted_returns(rewards, mask, gamma=self.gamma)
                advantage = (returns[channel] - rewards.sum() / counted.sum().clamp(min=1)).where(mask, 0.0)
            advantages[channel] = rk.masked_whiten(advantage, mask) if self.whiten else advantage
        return Experience(rollouts=rollouts, feedback=feedback, advantages=advantages, returns=returns, counted=counted)

    def _with_critic(
        self, rollouts: Rollouts, feedback: Feedback, critic: Critic, total: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        values = _finite(critic.values(rollouts), "values").to(mask.device)
        after = unfinished = None
        if self.truncated == "bootstrap":
            unfinished = torch.tensor([reason == "length" for reason in rollouts.finish], device=mask.device)
            follows = _finite(critic.values_after(rollouts), "values_after").to(mask.device)
            after = spread(follows.where(unfinished, 0.0), last_chosen(rollouts.mask))
        rewards = token_rewards(rollouts, feedback, "reward", total, unfinished)
        return rk.gae(rewards, values, mask, gamma=self.gamma, lam=self.lam, next_values=after)


def _finite(values: Tensor, name: str) -> Tensor:
    values = values.detach().float()
    if not bool(values.isfinite().all()):
        raise TrainingError(f"critic.{name} is not finite: the value head has diverged; lower its learning rate")
    return values
