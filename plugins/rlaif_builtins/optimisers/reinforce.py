"""REINFORCE (Williams 1992) with a KL penalty in the reward: what RLOO and its kin reduce to, given their credit."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

import rlaif_kernels as rk
from rlaif_builtins.optimisers.losses import Aggregation, length_fits, weights
from rlaif_builtins.optimisers.reference import NAME, KlPenalty, measured_kl
from rlaif_builtins.optimisers.update import Adam, Update, insist
from rlaif_core.protocols import Optimiser, Policy, RewardSource, State
from rlaif_core.types import Experience


class Reinforce(Optimiser):
    """Ascend advantage times log-prob; the ratio to the sampler's policy corrects, token by token, for stale rollouts.

    kl: weight of the KL to the reference, subtracted from the reward (k1, per token). aggregation: how tokens are
    weighed (`losses.weights`); sequence_sum is the policy gradient itself; "constant" divides by `length`. entropy:
    weight of an entropy bonus.
    """

    def __init__(
        self,
        kl: float = 0.05,
        aggregation: Aggregation = "sequence_sum",
        length: int | None = None,
        entropy: float = 0.0,
        adam: Adam = Adam(lr=1e-5),
    ) -> None:
        insist(
            "optimiser 'reinforce'",
            (0 <= kl < math.inf, f"kl is {kl}, but must be a finite number of at least 0"),
            length_fits(aggregation, length),
        )
        self.kl, self.aggregation, self.length, self.entropy = kl, aggregation, length, entropy
        self._update = Update(adam)

    def prepare(self, policy: Policy, steps: int) -> None:
        policy.keep_reference()
        self._penalty = KlPenalty(policy, self._update.adam.microbatch)
        self._update.prepare(policy, steps)

    def sources(self) -> Mapping[str, RewardSource]:
        return {NAME: self._penalty}

    def weights(self) -> Mapping[str, float]:
        return {NAME: self.kl}

    def step(self, policy: Policy, experience: Experience) -> Mapping[str, float]:
        fresh = experience.rollouts.policy_version == policy.version
        weight = weights(experience.mask, self.aggregation, self.length)
        counted = int(experience.mask.sum())

        def loss_of(part: Experience, rows: slice) -> tuple[Tensor, dict[str, Tensor]]:
            forward = policy.forward(part.rollouts, entropy=True)
            said = rk.policy_loss(
                forward.logp,
                forward.logp.detach() if fresh else part.rollouts.logp,
                part.advantages["reward"],
                part.mask,
                low=math.inf,
                high=math.inf,
                aggregation=weight[rows],
                entropy=forward.entropy,
                entropy_weight=self.entropy,
            )
            return said.loss, {"entropy": said.named()["entropy"] * int(part.mask.sum()) / counted}

        with self._update.step() as rate:
            return {**self._update.apply(policy, experience, loss_of), **measured_kl(experience), "lr": rate}

    def skip(self) -> None:
        self._update.skip()

    def state_dict(self) -> State:
        return self._update.state_dict()

    def load_state_dict(self, state: State) -> None:
        self._update.load_state_dict(state)
