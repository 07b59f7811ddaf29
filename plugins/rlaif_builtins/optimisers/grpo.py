"""GRPO (Shao et al. 2024, arXiv:2402.03300): a clipped ratio, with the KL to the reference in the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

import rlaif_kernels as rk
from rlaif_builtins.optimisers.losses import Aggregation, Descended, Estimator, drift, length_fits, weights
from rlaif_builtins.optimisers.parts import averaged, detached
from rlaif_builtins.optimisers.update import Adam, Update, insist
from rlaif_core.protocols import Optimiser, Policy, State
from rlaif_core.types import Experience


class Grpo(Optimiser):
    """Clipped policy gradient on group-relative advantages (credit `group`).

    kl: weight of the KL in the loss. kl_value, kl_gradient: which estimator is shown and which is descended (see
    `rk.policy_loss`); k2 descends the reverse KL, the paper's own is k3. low, high: clip range of the ratio (high > low
    lets unlikely tokens rise, as DAPO does). epochs: passes over each batch. aggregation: see `rk.token_weights`;
    "constant" divides by `length` (Dr. GRPO). entropy: weight of an entropy bonus. reference = false saves its forward
    pass where kl is 0. The metric `kl` is of the policy's own answers: where they were recorded there is none.
    """

    def __init__(
        self,
        kl: float = 0.04,
        kl_value: Estimator = "k3",
        kl_gradient: Descended = "k2",
        low: float = 0.2,
        high: float = 0.2,
        epochs: int = 1,
        aggregation: Aggregation = "sequence_mean",
        length: int | None = None,
        entropy: float = 0.0,
        reference: bool = True,
        adam: Adam = Adam(lr=1e-6),
    ) -> None:
        insist(
            "optimiser 'grpo'",
            (0 <= kl < math.inf, f"kl is {kl}, but must be a finite number of at least 0"),
            (reference or kl == 0, "kl needs the reference; set kl = 0 or reference = true"),
            (0 < low < 1 and high > 0, f"low is {low} and high {high}, but low must be in (0, 1) and high above 0"),
            (epochs >= 1, f"epochs is {epochs}, but must be at least 1"),
            length_fits(aggregation, length),
        )
        self.kl, self.kl_value, self.kl_gradient, self.reference = kl, kl_value, kl_gradient, reference
        self.low, self.high, self.epochs, self.entropy = low, high, epochs, entropy
        self.aggregation, self.length = aggregation, length
        self._update = Update(adam)

    def prepare(self, policy: Policy, steps: int) -> None:
        if self.reference:
            policy.keep_reference()
        self._update.prepare(policy, steps)

    def step(self, policy: Policy, experience: Experience) -> Mapping[str, float]:
        rollouts, size = experience.rollouts, self._update.adam.microbatch
        old = rollouts.logp.clone()
        reference = detached(policy.reference_logprobs, rollouts, size) if self.reference else None
        weight = weights(experience.mask, self.aggregation, self.length)
        counted = int(experience.mask.sum())

        def loss_of(part: Experience, rows: slice) -> tuple[Tensor, dict[str, Tensor]]:
            forward = policy.forward(part.rollouts, entropy=True)
            if rollouts.policy_version == policy.version:
                # The weights that sampled have not moved yet: this very pass is the old policy, without rounding.
                old[rows] = forward.logp.detach()
            said = rk.policy_loss(
                forward.logp,
                old[rows],
                part.advantages["reward"],
                part.mask,
                low=self.low,
                high=self.high,
                aggregation=weight[rows],
                reference=reference[rows] if reference is not None and self.kl else None,
                kl=self.kl,
                kl_value=self.kl_value,
                kl_gradient=self.kl_gradient,
                entropy=forward.entropy,
                entropy_weight=self.entropy,
            )
            metrics = drift(said, int(part.mask.sum()) / counted)
            if reference is not None and not rollouts.recorded:
                metrics["kl"] = rk.kl_estimate(forward.logp.detach(), reference[rows]).sum() / len(rollouts)
            return said.loss, metrics

        with self._update.step() as rate:
            measured = [self._update.apply(policy, experience, loss_of) for _ in range(self.epochs)]
            # The KL is estimated from the policy's own samples, which they no longer are in later passes.
            first = {"kl": measured[0]["kl"]} if "kl" in measured[0] else {}
            return {**averaged(measured), **first, "lr": rate}

    def skip(self) -> None:
        self._update.skip()

    def state_dict(self) -> State:
        return self._update.state_dict()

    def load_state_dict(self, state: State) -> None:
        self._update.load_state_dict(state)
