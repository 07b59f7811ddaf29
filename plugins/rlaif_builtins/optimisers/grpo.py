"""GRPO (Shao et al. 2024, arXiv:2402.03300): a clipped ratio, with the KL to the reference in the loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rlaif_builtins.optimisers.losses import Aggregation, Estimator, clipped_gain, kl_loss, weights
from rlaif_builtins.optimisers.reference import summed_kl
from rlaif_builtins.optimisers.update import Schedule, Update
from rlaif_core.errors import ConfigError
from rlaif_core.protocols import Critic, NoCritic, Policy, RewardSource, State
from rlaif_core.types import Experience


class Grpo:
    """Clipped policy gradient on group-relative advantages (credit `group`).

    kl: weight of the KL in the loss. kl_value, kl_gradient: which estimator is shown and which is descended; k2 is the
    gradient of the reverse KL on-policy, the paper's own is k3. low, high: clip range of the ratio (high > low lets
    unlikely tokens rise, as DAPO does). epochs: passes over each batch. aggregation: see `losses.weights`;
    "constant" divides by `length` (Dr. GRPO). reference = false saves its forward pass where kl is 0.
    """

    channels = frozenset({"reward"})
    needs: frozenset[str] = frozenset()
    gives: frozenset[str] = frozenset()

    def __init__(
        self,
        lr: float = 1e-6,
        kl: float = 0.04,
        kl_value: Estimator = "k3",
        kl_gradient: Estimator = "k2",
        low: float = 0.2,
        high: float = 0.2,
        epochs: int = 1,
        aggregation: Aggregation = "sequence_mean",
        length: int | None = None,
        entropy: float = 0.0,
        reference: bool = True,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        clip: float = 1.0,
        warmup: int = 0,
        schedule: Schedule = "constant",
        microbatch: int | None = None,
    ) -> None:
        if kl and not reference:
            raise ConfigError("optimiser 'grpo': kl needs the reference; set kl = 0 or reference = true")
        if epochs < 1 or not 0 < low < 1 or not high > 0:
            raise ConfigError("optimiser 'grpo': epochs must be at least 1, low in (0, 1) and high above 0")
        self.kl, self.kl_value, self.kl_gradient, self.reference = kl, kl_value, kl_gradient, reference
        self.low, self.high, self.epochs, self.entropy = low, high, epochs, entropy
        self.aggregation, self.length = aggregation, length
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
        if self.reference:
            policy.keep_reference()
        self._update.prepare(policy, steps)

    def sources(self) -> Mapping[str, RewardSource]:
        return {}

    def weights(self) -> Mapping[str, float]:
        return {}

    def critic(self) -> Critic:
        return NoCritic()

    def step(self, policy: Policy, experience: Experience) -> Mapping[str, float]:
        rate = self._update.begin()
        rollouts = experience.rollouts
        fresh = rollouts.policy_version == policy.version
        old: Tensor | None = rollouts.logp
        if fresh:
            # One epoch needs no extra pass: the old log-probs are the new ones. More need them before they move.
            old = None if self.epochs == 1 else _detached(policy, experience)
        reference = policy.reference_logprobs(rollouts) if self.reference else None
        weight = weights(experience.mask, self.aggregation, self.length)
        even = weights(experience.mask, "token_mean")

        def loss_of(part: Experience, rows: slice) -> tuple[Tensor, dict[str, Tensor | float]]:
            forward = policy.forward(part.rollouts, entropy=True)
            logp, entropy = forward.logp, forward.entropy
            assert entropy is not None
            before = logp.detach() if old is None else old[rows]
            gain, clipped = clipped_gain(logp, before, part.advantages["reward"], self.low, self.high)
            gain = gain + self.entropy * entropy
            if self.kl and reference is not None:
                gain = gain - self.kl * kl_loss(logp, reference[rows], self.kl_value, self.kl_gradient)
            with torch.no_grad():
                drift = (logp - before).exp() - 1 - (logp - before)
                shares = {"clip_fraction": clipped.float(), "approx_kl": drift, "entropy": entropy}
                metrics = {name: (even[rows] * value).sum() / self.epochs for name, value in shares.items()}
                if reference is not None:
                    share = len(logp) / len(rollouts) / self.epochs
                    metrics["kl"] = torch.tensor(share * summed_kl(logp, reference[rows], part.rollouts.mask))
            return -(weight[rows] * gain).sum(), metrics

        totals: dict[str, float] = {}
        for _ in range(self.epochs):
            for name, value in self._update.apply(policy, experience, loss_of).items():
                totals[name] = totals.get(name, 0.0) + value
        totals["loss"] /= self.epochs
        totals["grad_norm"] /= self.epochs
        return {**totals, "lr": rate}

    def state_dict(self) -> State:
        return self._update.state_dict()

    def load_state_dict(self, state: State) -> None:
        self._update.load_state_dict(state)


def _detached(policy: Policy, experience: Experience) -> Tensor:
    with torch.no_grad():
        return policy.logprobs(experience.rollouts)
