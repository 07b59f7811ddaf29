"""Losses as pure functions of tensors: batch in, numbers out. Nothing here knows a policy or a plugin.

Shapes are [B,T] over tokens, [P] over pairs. Weights from `weights` turn per-token values into a loss by a plain sum,
so a batch may be cut into any parts without changing its gradient.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

import rlaif_kernels as rk
from rlaif_core.errors import TrainingError
from rlaif_kernels.losses import Aggregation, Estimator

__all__ = [
    "Aggregation",
    "Descended",
    "Estimator",
    "PairLoss",
    "clipped_value_loss",
    "drift",
    "length_fits",
    "pair_loss",
    "steered",
    "weights",
]

Descended = Literal["k2", "k3"]  # the gradient of k1 is 0 in expectation, so nobody can mean to descend it
PairLoss = Literal["sigmoid", "ipo"]


def weights(mask: Tensor, aggregation: Aggregation, length: int | None = None) -> Tensor:
    """`rk.token_weights`, [B,T] f32; a batch of which no token counts raises `TrainingError`."""
    if not bool(mask.any()):
        raise TrainingError("no token takes part in the loss: every answer was left out, so its denominator would be 0")
    return rk.token_weights(mask, aggregation, length)


def length_fits(aggregation: Aggregation, length: int | None) -> tuple[bool, str]:
    """Whether a `length` is given where, and only where, it is read; and what to say if not."""
    wanted = aggregation == "constant"
    fits = (length is not None and length >= 1) if wanted else length is None
    return (
        fits,
        f"length is {length}, but aggregation {aggregation!r} {'needs one of at least 1' if wanted else 'has none'}",
    )


def drift(said: rk.PolicyLoss, share: float) -> dict[str, Tensor]:
    """What an update with a clipped ratio reports of a part of a batch that holds `share` of its tokens.

    clip_fraction: where the clip was active; approx_kl: KL(old || policy) by k3, in nats a token; entropy in nats.
    """
    named = said.named()
    clipped = named["clip_low"] + named["clip_high"] + named["clip_dual"]
    return {
        "clip_fraction": share * clipped,
        "approx_kl": share * named["approx_kl"],
        "entropy": share * named["entropy"],
    }


def clipped_value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float | None) -> Tensor:
    """Half the squared error, pessimistic about moves of more than `clip` from the old value (as PPO's code does)."""
    error = (values - returns).square()
    if clip is not None:
        near = old + (values - old).clamp(-clip, clip)
        error = torch.maximum(error, (near - returns).square())
    return error / 2


def steered(weight: float, kl: float, target: float, share: float) -> float:
    """The KL's weight for the next step, `share` of the controller's horizon later (arXiv:1909.08593, eq. 2).

    A step longer than the horizon counts as long as it: the weight changes by a fifth at most and keeps its sign.
    """
    return weight * (1 + min(max(kl / target - 1, -0.2), 0.2) * min(share, 1.0))


def pair_loss(margin: Tensor, beta: float, smoothing: float, kind: PairLoss) -> Tensor:
    """[P] losses of the margin by which the policy, against its reference, prefers the chosen answer over the rejected.

    sigmoid: DPO (arXiv:2305.18290, eq. 7), with label smoothing conservative DPO; ipo: (margin - 1/(2 beta))^2
    (arXiv:2310.12036, eq. 17).
    """
    if kind == "ipo":
        return (margin - 1 / (2 * beta)).square()
    return -(1 - smoothing) * logsigmoid(beta * margin) - smoothing * logsigmoid(-beta * margin)
