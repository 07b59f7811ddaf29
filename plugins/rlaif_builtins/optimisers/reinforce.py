"""REINFORCE (Williams 1992) with a KL penalty in the reward: what RLOO and its kin reduce to, given their credit."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from rlaif_builtins.optimisers.losses import Aggregation, ratio_gain, weights
from rlaif_builtins.optimisers.reference import NAME, KlPenalty, measured_kl
from rlaif_builtins.optimisers.update import Schedule, Update
from rlaif_core.protocols import Critic, NoCritic, Policy, RewardSource, State
from rlaif_core.types import Experience


class Reinforce:
    """Ascend advantage times log-prob, the ratio to the sampler's policy correcting rollouts that are no longer fresh.

    kl: weight of the KL to the reference, subtracted from the reward (k1, per token). aggregation: how tokens are
    weighed (`losses.weights`); sequence_sum is the policy gradient itself. entropy: weight of an entropy bonus.
    """

    channels = frozenset({"reward"})
    needs: frozenset[str] = frozenset()
    gives: frozenset[str] = frozenset()

    def __init__(
        self,
        lr: float = 1e-5,
        kl: float = 0.05,
        aggregation: Aggregation = "sequence_sum",
        entropy: float = 0.0,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        clip: float = 1.0,
        warmup: int = 0,
        schedule: Schedule = "constant",
        microbatch: int | None = None,
    ) -> None:
        self.kl, self.aggregation, self.entropy = kl, aggregation, entropy
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
        self._penalty = KlPenalty(policy)
        self._update.prepare(policy, steps)

    def sources(self) -> Mapping[str, RewardSource]:
        return {NAME: self._penalty}

    def weights(self) -> Mapping[str, float]:
        return {NAME: self.kl}

    def critic(self) -> Critic:
        return NoCritic()

    def step(self, policy: Policy, experience: Experience) -> Mapping[str, float]:
        rate = self._update.begin()
        fresh = experience.rollouts.policy_version == policy.version

        weight = weights(experience.mask, self.aggregation)
        even = weights(experience.mask, "token_mean")

        def loss_of(part: Experience, rows: slice) -> tuple[Tensor, dict[str, Tensor | float]]:
            forward = policy.forward(part.rollouts, entropy=True)
            assert forward.entropy is not None
            old = forward.logp.detach() if fresh else part.rollouts.logp
            gain = ratio_gain(forward.logp, old, part.advantages["reward"])
            loss = -(weight[rows] * (gain + self.entropy * forward.entropy)).sum()
            return loss, {"entropy": (even[rows] * forward.entropy.detach()).sum()}

        metrics = self._update.apply(policy, experience, loss_of)
        return {**metrics, **measured_kl(experience), "lr": rate}

    def state_dict(self) -> State:
        return self._update.state_dict()

    def load_state_dict(self, state: State) -> None:
        self._update.load_state_dict(state)
