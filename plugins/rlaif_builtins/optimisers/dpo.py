"""DPO (Rafailov et al. 2023, arXiv:2305.18290): prefer, within each group, the answers that scored higher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from rlaif_builtins.optimisers.losses import PairLoss, pair_loss
from rlaif_builtins.optimisers.reference import summed_kl
from rlaif_builtins.optimisers.update import Schedule, Update
from rlaif_core.errors import ConfigError, TrainingError
from rlaif_core.protocols import Critic, NoCritic, Policy, RewardSource, State
from rlaif_core.types import Experience

Pairs = Literal["best_worst", "all"]


class Dpo:
    """Learn from pairs: recorded ones through the action `replay`, or the policy's own answers, scored and sampled.

    beta: how fast the implied reward grows with the log-ratio. loss: "sigmoid" (DPO) or "ipo"; both sum log-probs.
    smoothing: probability that a label is wrong (conservative DPO). pairs: "best_worst" of each group, or "all" that
    differ in score. A group of ties gives no pair.
    """

    channels = frozenset({"reward"})
    needs = frozenset({"pairs"})
    gives: frozenset[str] = frozenset()

    def __init__(
        self,
        lr: float = 1e-6,
        beta: float = 0.1,
        loss: PairLoss = "sigmoid",
        smoothing: float = 0.0,
        pairs: Pairs = "best_worst",
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        clip: float = 1.0,
        warmup: int = 0,
        schedule: Schedule = "constant",
        microbatch: int | None = None,
    ) -> None:
        if not beta > 0 or not 0 <= smoothing < 0.5:
            raise ConfigError("optimiser 'dpo': beta must be above 0 and smoothing in [0, 0.5)")
        self.beta, self.loss, self.smoothing, self.pairs = beta, loss, smoothing, pairs
        self.microbatch = microbatch
        self._update = Update(
            lr=lr, weight_decay=weight_decay, betas=betas, clip=clip, warmup=warmup, schedule=schedule
        )

    def prepare(self, policy: Policy, steps: int) -> None:
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
        pairs = pairs_of(experience, self.pairs)
        if not pairs:
            if max(torch.bincount(experience.rollouts.group)) < 2:
                raise TrainingError("DPO needs two answers to a prompt at least: raise [prompts] group, or replay pairs")
            return {"pairs": 0.0, "lr": rate}
        total = len(pairs)
        # A micro-batch is made of whole pairs, chosen answers first, so that each pair's margin has one forward.
        size = max((self.microbatch or 2 * total) // 2, 1)
        chosen_first = [pairs[start : start + size] for start in range(0, total, size)]
        order = [row for part in chosen_first for side in (0, 1) for row in (pair[side] for pair in part)]
        paired = experience.take(order)
        reference = policy.reference_logprobs(paired.rollouts)
        self._update.microbatch = 2 * size

        def loss_of(part: Experience, rows: slice) -> tuple[Tensor, dict[str, Tensor | float]]:
            forward = policy.forward(part.rollouts, entropy=True)
            assert forward.entropy is not None
            log_ratio = (forward.logp - reference[rows]).sum(1)
            chosen, rejected = log_ratio.chunk(2)
            losses = pair_loss(chosen - rejected, self.beta, self.smoothing, self.loss)
            with torch.no_grad():
                logp = forward.logp.sum(1).chunk(2)
                tokens = paired.rollouts.mask.sum()
                metrics = {
                    "margin": self.beta * (chosen - rejected).sum() / total,
                    "accuracy": (chosen > rejected).float().sum() / total,
                    "logp/chosen": logp[0].sum() / total,
                    "logp/rejected": logp[1].sum() / total,
                    "entropy": forward.entropy.sum() / tokens,
                    "kl": torch.tensor(summed_kl(forward.logp, reference[rows], part.rollouts.mask)) * len(chosen) / total,
                }
            return losses.sum() / total, metrics

        return {**self._update.apply(policy, paired, loss_of), "pairs": float(total), "lr": rate}

    def state_dict(self) -> State:
        return self._update.state_dict()

    def load_state_dict(self, state: State) -> None:
        self._update.load_state_dict(state)


def pairs_of(experience: Experience, kind: Pairs) -> list[tuple[int, int]]:
    """(row of the better, row of the worse) within each group, by the total score of channel "reward"."""
    totals, counted = experience.feedback.totals(experience.rollouts.group)
    members: dict[int, list[int]] = {}
    for row, label in enumerate(experience.rollouts.group.tolist()):
        if counted[row]:
            members.setdefault(label, []).append(row)
    scores = totals.tolist()
    pairs = []
    for rows in members.values():
        ranked = sorted(rows, key=lambda row: -scores[row])
        if kind == "best_worst":
            candidates = [(ranked[0], ranked[-1])]
        else:
            candidates = [(a, b) for place, a in enumerate(ranked) for b in ranked[place + 1 :]]
        pairs += [(a, b) for a, b in candidates if scores[a] > scores[b]]
    return pairs
