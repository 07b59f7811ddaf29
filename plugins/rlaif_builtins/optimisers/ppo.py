"""PPO (Schulman et al. 2017, arXiv:1707.06347) with a value head on the policy's own trunk."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rlaif_builtins.optimisers.losses import Aggregation, clipped_gain, clipped_value_loss, weights
from rlaif_builtins.optimisers.reference import NAME, KlPenalty, measured_kl
from rlaif_builtins.optimisers.update import Schedule, Update
from rlaif_core.errors import ConfigError
from rlaif_core.protocols import Critic, Forward, Policy, RewardSource, State
from rlaif_core.types import Experience, Rollouts


class ValueHead(nn.Module):
    """A linear reading of the trunk's last hidden state; it starts at 0, so that the first advantages are the returns."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.float() @ self.weight + self.bias


class HeadCritic(Critic):
    """What the value head says about rollouts, without gradients; the last pass is remembered for the step's own use."""

    gives = frozenset({"values"})

    def __init__(self, policy: Policy, head: ValueHead) -> None:
        self._policy, self._head = policy, head
        self._seen: tuple[Rollouts, int, Forward] | None = None

    def look(self, rollouts: Rollouts) -> Forward:
        """Log-probs and hidden states under the current weights."""
        if self._seen is None or self._seen[0] is not rollouts or self._seen[1] != self._policy.version:
            with torch.no_grad():
                forward = self._policy.forward(rollouts, hidden=True)
            self._seen = (rollouts, self._policy.version, forward)
        return self._seen[2]

    def values(self, rollouts: Rollouts) -> Tensor:
        hidden = self.look(rollouts).hidden
        assert hidden is not None
        with torch.no_grad():
            return self._head(hidden).where(rollouts.mask, torch.zeros((), device=hidden.device))  # type: ignore[no-any-return]

    def values_after(self, rollouts: Rollouts) -> Tensor:
        last = self.look(rollouts).last
        assert last is not None
        with torch.no_grad():
            return self._head(last)  # type: ignore[no-any-return]


class Ppo:
    """Clipped policy gradient and clipped value loss over several epochs of mini-batches; credit `gae`.

    kl: weight of the KL to the reference, subtracted from the reward per token. kl_target: nats per answer that an
    adaptive controller steers the KL to (Ziegler et al. 2019, arXiv:1909.08593, eq. 2); none: the weight stays.
    value: weight of the value loss. low, high: clip range of the ratio; value_clip: of the value's move.
    """

    channels = frozenset({"reward"})
    needs: frozenset[str] = frozenset()
    gives = frozenset({"values"})

    def __init__(
        self,
        lr: float = 3e-6,
        kl: float = 0.05,
        kl_target: float | None = None,
        kl_horizon: int = 10_000,
        epochs: int = 4,
        minibatches: int = 1,
        low: float = 0.2,
        high: float = 0.2,
        value: float = 0.1,
        value_clip: float | None = 0.2,
        entropy: float = 0.0,
        aggregation: Aggregation = "token_mean",
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        clip: float = 1.0,
        warmup: int = 0,
        schedule: Schedule = "constant",
        microbatch: int | None = None,
    ) -> None:
        if epochs < 1 or minibatches < 1 or not 0 < low < 1 or not high > 0:
            raise ConfigError("optimiser 'ppo': epochs and minibatches must be at least 1, low in (0, 1) and high above 0")
        self.kl, self.kl_target, self.kl_horizon = kl, kl_target, kl_horizon
        self.epochs, self.minibatches, self.low, self.high = epochs, minibatches, low, high
        self.value, self.value_clip, self.entropy, self.aggregation = value, value_clip, entropy, aggregation
        self._update = Update(
            lr=lr,
            weight_decay=weight_decay,
            betas=betas,
            clip=clip,
            warmup=warmup,
            schedule=schedule,
            microbatch=microbatch,
        )

    def prepare(self, policy: Policy, steps: int) -> None:
        policy.keep_reference()
        device = next(policy.module.parameters()).device
        self._head = ValueHead(policy.hidden_size).to(device)
        self._critic = HeadCritic(policy, self._head)
        self._penalty = KlPenalty(policy)
        self._update.prepare(policy, steps, self._head.parameters())

    def sources(self) -> Mapping[str, RewardSource]:
        return {NAME: self._penalty}

    def weights(self) -> Mapping[str, float]:
        return {NAME: self.kl}

    def critic(self) -> Critic:
        return self._critic

    def step(self, policy: Policy, experience: Experience) -> Mapping[str, float]:
        rate = self._update.begin()
        fresh = experience.rollouts.policy_version == policy.version
        values = self._critic.values(experience.rollouts)
        old = self._critic.look(experience.rollouts).logp if fresh else experience.rollouts.logp
        parts = experience.split(self.minibatches)
        order = [self._rows(experience, part) for part in parts]
        totals: dict[str, float] = {}
        for _ in range(self.epochs):
            for part, rows in zip(parts, order, strict=True):
                for name, value in self._minibatch(policy, part, old[rows], values[rows]).items():
                    totals[name] = totals.get(name, 0.0) + value / (self.epochs * len(parts))
        measured = measured_kl(experience)
        used = self.kl
        self._steer(measured["kl"], len(experience.rollouts))
        return {**totals, **measured, "kl_weight": used, "lr": rate}

    def _rows(self, experience: Experience, part: Experience) -> list[int]:
        labels = set(part.rollouts.group.tolist())
        return [row for row, label in enumerate(experience.rollouts.group.tolist()) if label in labels]

    def _minibatch(self, policy: Policy, batch: Experience, old: Tensor, values: Tensor) -> dict[str, float]:
        weight, even = weights(batch.mask, self.aggregation), weights(batch.mask, "token_mean")
        returns = batch.returns["reward"]

        def loss_of(part: Experience, rows: slice) -> tuple[Tensor, dict[str, Tensor | float]]:
            forward = policy.forward(part.rollouts, entropy=True, hidden=True)
            assert forward.entropy is not None and forward.hidden is not None
            gain, clipped = clipped_gain(forward.logp, old[rows], part.advantages["reward"], self.low, self.high)
            error = clipped_value_loss(self._head(forward.hidden), values[rows], returns[rows], self.value_clip)
            loss = -(weight[rows] * (gain + self.entropy * forward.entropy)).sum()
            loss = loss + self.value * (even[rows] * error).sum()
            with torch.no_grad():
                drift = forward.logp - old[rows]
                shares = {
                    "clip_fraction": clipped.float(),
                    "approx_kl": drift.exp() - 1 - drift,
                    "entropy": forward.entropy,
                    "value_loss": error,
                }
                return loss, {name: (even[rows] * value).sum() for name, value in shares.items()}

        return self._update.apply(policy, batch, loss_of)

    def _steer(self, kl: float, answers: int) -> None:
        if self.kl_target is not None:
            error = min(max(kl / self.kl_target - 1, -0.2), 0.2)
            self.kl *= 1 + error * answers / self.kl_horizon

    def state_dict(self) -> State:
        return {"update": self._update.state_dict(), "kl": self.kl, "head": dict(self._head.state_dict())}

    def load_state_dict(self, state: State) -> None:
        self._head.load_state_dict(state["head"])
        self._update.load_state_dict(state["update"])
        self.kl = state["kl"]
