"""DPO (Rafailov et al. 2023, arXiv:2305.18290): prefer, within each group, the answers that scored higher."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from rlaif_builtins.optimisers.losses import PairLoss, pair_loss
from rlaif_builtins.optimisers.parts import detached
from rlaif_builtins.optimisers.update import Adam, Update, insist
from rlaif_core.errors import TrainingError
from rlaif_core.protocols import Optimiser, Policy, State
from rlaif_core.types import Experience

Pairs = Literal["best_worst", "all"]
TIE = 1e-12
"""A difference below this share of the scores is how their sums were rounded, and no preference."""


class Dpo(Optimiser):
    """Learn from pairs: recorded ones through the action `replay`, or the policy's own answers, scored and sampled.

    beta: how fast the implied reward grows with the log-ratio. loss: "sigmoid" (DPO) or "ipo". smoothing: probability
    that a label is wrong (conservative DPO). per_token: take the mean of an answer's log-ratios in place of their sum,
    as IPO's authors did. pairs: "best_worst" of each group, or "all" that differ in score; a group of ties gives none.
    There is no metric `kl`: its estimators hold on the policy's own samples only, which recorded answers are not, nor
    those that were selected by their scores.
    """

    def __init__(
        self,
        beta: float = 0.1,
        loss: PairLoss = "sigmoid",
        smoothing: float = 0.0,
        per_token: bool = False,
        pairs: Pairs = "best_worst",
        adam: Adam = Adam(lr=1e-6),
    ) -> None:
        insist(
            "optimiser 'dpo'",
            (0 < beta < math.inf, f"beta is {beta}, but must be a finite number above 0"),
            (0 <= smoothing < 0.5, f"smoothing is {smoothing}, but must be in [0, 0.5)"),
            (smoothing == 0 or loss == "sigmoid", "smoothing belongs to loss 'sigmoid'; ipo has none"),
        )
        self.beta, self.loss, self.smoothing, self.per_token, self.pairs = beta, loss, smoothing, per_token, pairs
        self._update = Update(adam)

    def prepare(self, policy: Policy, steps: int) -> None:
        policy.keep_reference()
        self._update.prepare(policy, steps)

    def step(self, policy: Policy, experience: Experience) -> Mapping[str, float]:
        with self._update.step() as rate:
            pairs = pairs_of(experience, self.pairs)
            measured = self._learn(policy, experience, pairs) if pairs else {}
            return {**measured, "pairs": float(len(pairs)), "lr": rate}

    def _learn(self, policy: Policy, experience: Experience, pairs: list[tuple[int, int]]) -> dict[str, float]:
        # A micro-batch is made of whole pairs, chosen answers first, so that each pair's margin has one forward.
        total = len(pairs)
        size = max((self._update.adam.microbatch or 2 * total) // 2, 1)
        parts = [pairs[start : start + size] for start in range(0, total, size)]
        paired = experience.take([row for part in parts for side in zip(*part, strict=True) for row in side])
        reference = detached(policy.reference_logprobs, paired.rollouts, 2 * size)
        lengths = paired.rollouts.mask.sum(1)

        def loss_of(part: Experience, rows: slice) -> tuple[Tensor, dict[str, Tensor]]:
            forward = policy.forward(part.rollouts, entropy=True)
            assert forward.entropy is not None
            ratio = (forward.logp - reference[rows]).sum(1)
            chosen, rejected = (ratio / lengths[rows] if self.per_token else ratio).chunk(2)
            losses = pair_loss(chosen - rejected, self.beta, self.smoothing, self.loss)
            with torch.no_grad():
                liked, disliked = forward.logp.sum(1).chunk(2)
                metrics = {
                    "margin": self.beta * (chosen - rejected).sum() / total,
                    "accuracy": (chosen > rejected).float().sum() / total,
                    "logp/chosen": liked.sum() / total,
                    "logp/rejected": disliked.sum() / total,
                    "entropy": forward.entropy.sum() / lengths.sum(),
                }
            return losses.sum() / total, metrics

        return self._update.apply(policy, paired, loss_of, microbatch=2 * size)

    def skip(self) -> None:
        self._update.skip()

    def state_dict(self) -> State:
        return self._update.state_dict()

    def load_state_dict(self, state: State) -> None:
        self._update.load_state_dict(state)


def _better(one: float, other: float) -> bool:
    return one - other > TIE * max(abs(one), abs(other))


def pairs_of(experience: Experience, kind: Pairs) -> list[tuple[int, int]]:
    """(row of the better, row of the worse) within each group, by the total score of channel "reward".

    Answers that do not count, or of which the policy chose no token, are in no pair. Raises `TrainingError` where no
    group has two answers to begin with.
    """
    scores = experience.feedback.totals(experience.rollouts.group, exact=True)[0].tolist()
    groups: dict[int, list[int]] = {}
    for row, label in enumerate(experience.rollouts.group.tolist()):
        groups.setdefault(label, []).append(row)
    if max(map(len, groups.values())) < 2:
        raise TrainingError("DPO needs two answers to a prompt at least: raise [prompts] group, or replay pairs")
    counted = experience.mask.any(1).tolist()
    pairs = []
    for rows in groups.values():
        ranked = sorted((row for row in rows if counted[row]), key=lambda row: -scores[row])
        if kind == "all":
            candidates = [(a, b) for place, a in enumerate(ranked) for b in ranked[place + 1 :]]
        else:
            candidates = list(zip(ranked[:1], ranked[-1:], strict=True))
        pairs += [(a, b) for a, b in candidates if _better(scores[a], scores[b])]
    return pairs
