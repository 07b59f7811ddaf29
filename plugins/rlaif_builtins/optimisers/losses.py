"""Losses as pure functions of tensors: batch in, numbers out. Nothing here knows a policy or a plugin.

Shapes are [B,T] over tokens, [P] over pairs. Weights from `weights` turn per-token values into a loss by a plain sum,
so a batch may be cut into any parts without changing its gradient.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rlaif_core.errors import TrainingError

Aggregation = Literal["token_mean", "sequence_mean", "sequence_sum", "constant"]
Estimator = Literal["k1", "k2", "k3"]
Descended = Literal["k2", "k3"]  # the gradient of k1 is 0 in expectation, so nobody can mean to descend it
PairLoss = Literal["sigmoid", "ipo"]


def weights(mask: Tensor, aggregation: Aggregation, length: int | None = None) -> Tensor:
    """[B,T] f32, 0 off-mask, so that (weights * values).sum() is the loss.

    token_mean: every token alike (DAPO, arXiv:2503.14476); sequence_mean: every answer alike, its tokens averaged
    (GRPO, arXiv:2402.03300); sequence_sum: every answer alike, its tokens summed (REINFORCE); constant: tokens summed
    and divided by a fixed `length` (Dr. GRPO, arXiv:2503.20783). Answers without a token count in no denominator; a
    batch of nothing else raises `TrainingError`.
    """
    tokens = mask.float()
    lengths = tokens.sum(1, keepdim=True)
    answers = (lengths > 0).sum()
    if int(answers) == 0:
        raise TrainingError("no token takes part in the loss: every answer was left out, so its denominator would be 0")
    if aggregation == "token_mean":
        return tokens / lengths.sum()
    if aggregation == "sequence_mean":
        return tokens / (lengths.clamp(min=1) * answers)
    if aggregation == "sequence_sum":
        return tokens / answers
    assert length is not None, "aggregation 'constant' divides by a length"
    return tokens / (answers * length)


def length_fits(aggregation: Aggregation, length: int | None) -> tuple[bool, str]:
    """Whether a `length` is given where, and only where, it is read; and what to say if not."""
    wanted = aggregation == "constant"
    fits = (length is not None and length >= 1) if wanted else length is None
    return (
        fits,
        f"length is {length}, but aggregation {aggregation!r} {'needs one of at least 1' if wanted else 'has none'}",
    )


def ratio_gain(logp: Tensor, old: Tensor, advantages: Tensor) -> Tensor:
    """Importance ratio times advantage, by token: at `logp == old` its gradient is REINFORCE's (Williams 1992)."""
    return (logp - old).exp() * advantages


def clipped_gain(logp: Tensor, old: Tensor, advantages: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """PPO's pessimistic gain (arXiv:1707.06347, eq. 7) within [1 - low, 1 + high], and where the clip was active."""
    ratio = (logp - old).exp()
    clipped = ratio.clamp(1 - low, 1 + high) * advantages
    return torch.minimum(ratio * advantages, clipped), ratio * advantages > clipped


def drift(share: Tensor, logp: Tensor, old: Tensor, clipped: Tensor, entropy: Tensor) -> dict[str, Tensor]:
    """What an update with a clipped ratio reports of some tokens, each weighing `share` [B,T], of shares that sum to 1.

    clip_fraction: where the clip was active; approx_kl: KL(old || policy) by k3, in nats a token; entropy in nats.
    """
    values = {"clip_fraction": clipped, "approx_kl": kl_estimate(old, logp, "k3"), "entropy": entropy}
    return {name: (share * value.detach()).sum() for name, value in values.items()}


def kl_estimate(logp: Tensor, reference: Tensor, estimator: Estimator) -> Tensor:
    """Per-token estimate of KL(policy || reference) on the policy's own samples (Schulman 2020, "Approximating KL").

    k1 is unbiased and signed, k3 unbiased and never negative, k2 biased but with the right gradient. The exponent of
    k3 is capped at 20: a token whose log-prob fell by more nats than that is counted as if it had fallen by 20.
    """
    difference = logp - reference
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return difference.square() / 2
    return (-difference).clamp(max=20).exp() - 1 + difference


def kl_loss(logp: Tensor, old: Tensor, reference: Tensor, value: Estimator, gradient: Descended) -> Tensor:
    """One estimator's value with another's gradient, on samples of `old`.

    k3 reads best, while k2, weighed by the ratio to `old`, has the gradient of the reverse KL whichever policy drew
    the samples; the gradient of k3, unweighed, is what the GRPO paper descends (on-policy: of the forward KL).
    """
    moving = kl_estimate(logp, reference, gradient)
    if gradient == "k2":
        moving = (logp - old).detach().exp() * moving
    return moving - moving.detach() + kl_estimate(logp, reference, value).detach()


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
