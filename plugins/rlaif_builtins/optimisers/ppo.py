"""PPO (Schulman et al. 2017, arXiv:1707.06347) with a value head on the policy's own trunk."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

import rlaif_kernels as rk
from rlaif_builtins.optimisers.losses import (
    Aggregation,
    clipped_value_loss,
    drift,
    length_fits,
    steered,
    weights,
)
from rlaif_builtins.optimisers.parts import averaged, detached, rounds, without_gradients
from rlaif_builtins.optimisers.reference import NAME, KlPenalty, measured_kl
from rlaif_builtins.optimisers.update import Adam, Update, insist
from rlaif_core.errors import TrainingError
from rlaif_core.protocols import Critic, Optimiser, Policy, RewardSource, State
from rlaif_core.types import Experience, Rollouts


class ValueHead(nn.Module):
    """A linear reading of the trunk's last hidden state; it starts at 0: the first advantages are the returns."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden.to(self.weight.dtype) @ self.weight + self.bias


class HeadCritic(Critic):
    """What the value head says of rollouts; the last answer is remembered, for the step that follows the credit."""

    gives = frozenset({"values"})

    def __init__(self, policy: Policy, head: ValueHead, microbatch: int | None) -> None:
        self._policy, self._head, self._microbatch = policy, head, microbatch
        self._seen: tuple[Rollouts, int, tuple[Tensor, ...]] | None = None

    def look(self, rollouts: Rollouts) -> tuple[Tensor, ...]:
        """(log-probs [B,T], values [B,T], values after the last token [B]) under the current weights."""
        if self._seen is None or self._seen[0] is not rollouts or self._seen[1] != self._policy.version:
            said = without_gradients(self._read, rollouts, self._microbatch)
            self._seen = (rollouts, self._policy.version, said)
        return self._seen[2]

    def _read(self, rollouts: Rollouts) -> tuple[Tensor, ...]:
        forward = self._policy.forward(rollouts, hidden=True)
        assert forward.hidden is not None
        assert forward.last is not None
        return forward.logp, self._head(forward.hidden).where(rollouts.mask, 0.0), self._head(forward.last)

    def values(self, rollouts: Rollouts) -> Tensor:
        return self.look(rollouts)[1]

    def values_after(self, rollouts: Rollouts) -> Tensor:
        return self.look(rollouts)[2]


class Ppo(Optimiser):
    """Clipped policy gradient and clipped value loss over several epochs of mini-batches; credit `gae`.

    kl: weight of the KL to the reference, subtracted from the reward per token. kl_target: nats per answer that an
    adaptive controller steers the KL to over about kl_horizon answers (Ziegler et al. 2019, arXiv:1909.08593, eq. 2);
    none: the weight stays. epochs: passes over each batch, each over minibatches of whole groups. low, high: clip range
    of the ratio; value_clip: of the value's move. value: weight of the value loss; entropy: of an entropy bonus.
    aggregation: how tokens are weighed (`rk.token_weights`); "constant" divides by `length`.
    """

    gives = frozenset({"values"})

    def __init__(
        self,
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
        length: int | None = None,
        adam: Adam = Adam(lr=3e-6),
    ) -> None:
        insist(
            "optimiser 'ppo'",
            (0 <= kl < math.inf, f"kl is {kl}, but must be a finite number of at least 0"),
            (kl_target is None or (kl_target > 0 and kl > 0), "kl_target needs a kl above 0 to start from"),
            (kl_horizon >= 1, f"kl_horizon is {kl_horizon}, but must be at least 1"),
            (epochs >= 1, f"epochs is {epochs}, but must be at least 1"),
            (minibatches >= 1, f"minibatches is {minibatches}, but must be at least 1"),
            (0 < low < 1 and high > 0, f"low is {low} and high {high}, but low must be in (0, 1) and high above 0"),
            (value_clip is None or value_clip > 0, f"value_clip is {value_clip}, but must be above 0"),
            length_fits(aggregation, length),
        )
        self.kl, self.kl_target, self.kl_horizon = kl, kl_target, kl_horizon
        self._first = kl  # which the controller starts from
        self.epochs, self.minibatches, self.low, self.high = epochs, minibatches, low, high
        self.value, self.value_clip, self.entropy = value, value_clip, entropy
        self.aggregation, self.length = aggregation, length
        self._update = Update(adam)

    def prepare(self, policy: Policy, steps: int) -> None:
        policy.keep_reference()
        device, size = next(policy.module.parameters()).device, self._update.adam.microbatch
        self._head = ValueHead(policy.hidden_size).to(device)
        self._critic = HeadCritic(policy, self._head, size)
        self._penalty = KlPenalty(policy, size, lambda rollouts: self._critic.look(rollouts)[0], hidden=True)
        self._update.prepare(policy, steps, self._head.parameters())

    def sources(self) -> Mapping[str, RewardSource]:
        return {NAME: self._penalty}

    def weights(self) -> Mapping[str, float]:
        return {NAME: self.kl}

    def critic(self) -> Critic:
        return self._critic

    def step(self, policy: Policy, experience: Experience) -> Mapping[str, float]:
        rollouts = experience.rollouts
        if rollouts.recorded and self.kl_target is not None:
            raise TrainingError(
                "kl_target steers the KL of the policy's own answers, but these were recorded; leave kl_target out"
            )
        logp, values, _ = self._critic.look(rollouts)
        # A minibatch of which nothing counts teaches nothing; a batch of such is refused by its weights.
        batches = [batch for batch in experience.split(self.minibatches) if bool(batch.mask.any())] or [experience]
        parts, measured = [], []
        for batch in batches:
            rows = torch.isin(rollouts.group, batch.rollouts.group)
            parts.append((batch, self._old(policy, batch.rollouts, logp[rows]), values[rows]))
        with self._update.step() as rate:
            for _ in range(self.epochs):
                measured += [self._learn(policy, *part) for part in parts]
            metrics = {**averaged(measured), **measured_kl(experience), "kl_weight": self.kl, "lr": rate}
            if self.kl_target is not None:
                self.kl = steered(self.kl, metrics["kl"], self.kl_target, len(rollouts) / self.kl_horizon)
            return metrics

    def _old(self, policy: Policy, rollouts: Rollouts, logp: Tensor) -> Tensor:
        """What the ratio compares with: the sampler's log-probs if the weights have moved since, else their own.

        `logp` are those of a pass over the whole batch. In half precision rounding differs with the answers of a pass,
        enough to be clipped, so there they come from a pass over just those that are trained together.
        """
        if rollouts.policy_version != policy.version:
            return rollouts.logp
        if self.minibatches == 1 or not rounds(policy.module):
            return logp
        return detached(lambda part: policy.forward(part, hidden=True).logp, rollouts, self._update.adam.microbatch)

    def _learn(self, policy: Policy, batch: Experience, old: Tensor, values: Tensor) -> dict[str, float]:
        weight = weights(batch.mask, self.aggregation, self.length)
        share = weights(batch.mask, "token_mean")
        counted = int(batch.mask.sum())

        def loss_of(part: Experience, rows: slice) -> tuple[Tensor, dict[str, Tensor]]:
            forward = policy.forward(part.rollouts, entropy=True, hidden=True)
            assert forward.hidden is not None
            said = rk.policy_loss(
                forward.logp,
                old[rows],
                part.advantages["reward"],
                part.mask,
                low=self.low,
                high=self.high,
                aggregation=weight[rows],
                entropy=forward.entropy,
                entropy_weight=self.entropy,
            )
            valued, target = self._head(forward.hidden), part.returns["reward"]
            error = (share[rows] * clipped_value_loss(valued, values[rows], target, self.value_clip)).sum()
            metrics = drift(said, int(part.mask.sum()) / counted)
            return said.loss + self.value * error, {**metrics, "value_loss": error.detach()}

        return self._update.apply(policy, batch, loss_of)

    def skip(self) -> None:
        self._update.skip()

    def state_dict(self) -> State:
        kl = {"first": self._first, "now": self.kl}
        return {"update": self._update.state_dict(), "kl": kl, "head": dict(self._head.state_dict())}

    def load_state_dict(self, state: State) -> None:
        self._head.load_state_dict(state["head"])
        self._update.load_state_dict(state["update"])
        if self.kl_target is not None and state["kl"]["first"] == self._first:  # else it was given anew
            self.kl = state["kl"]["now"]
