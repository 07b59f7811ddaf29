"""Policy-gradient losses and estimates of the KL divergence, token by token.

Shapes are [B,T] over tokens, `mask` is True where a token counts, and what stands elsewhere is never read.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rlaif_kernels.reference.numbers import accumulation

__all__ = [
    "METRICS",
    "Aggregation",
    "Estimator",
    "LinearPolicyLoss",
    "Objective",
    "PolicyLoss",
    "Ratio",
    "kl_estimate",
    "policy_loss",
    "token_weights",
]

Aggregation = Literal["token_mean", "sequence_mean", "sequence_sum", "constant"]
Estimator = Literal["k1", "k2", "k3"]
Objective = Literal["clip", "cispo"]
Ratio = Literal["token", "sequence"]

METRICS = ("clip_low", "clip_high", "clip_dual", "ratio", "ratio_max", "approx_kl", "entropy", "kl")
"""What `PolicyLoss.metrics` holds, in this order: see `policy_loss`."""

NEAR = 1e-2  # log-ratios below which e^d - 1 - d is taken from its series, for the difference rounds away
FAR = 20.0  # log-ratios above which e^d is not let grow further


class PolicyLoss(NamedTuple):
    """The loss, a number that can be descended, and `METRICS` as one detached vector [8]."""

    loss: Tensor
    metrics: Tensor

    def named(self) -> dict[str, Tensor]:
        """Name -> number, still on its device: `float()` of one waits for the device."""
        return dict(zip(METRICS, self.metrics.unbind(), strict=True))


class LinearPolicyLoss(NamedTuple):
    """As `PolicyLoss`, with the log-probs and entropies [B,T] that it is of, detached, 0 off the mask."""

    loss: Tensor
    metrics: Tensor
    logp: Tensor
    entropy: Tensor

    def named(self) -> dict[str, Tensor]:
        """As that of `PolicyLoss`."""
        return PolicyLoss(self.loss, self.metrics).named()


def kl_estimate(
    logp: Tensor,
    reference: Tensor,
    *,
    value: Estimator = "k3",
    gradient: Estimator | None = None,
    ratio: Tensor | None = None,
) -> Tensor:
    """Estimates of KL(policy || reference) from tokens of the policy (Schulman, 2020), any shape -> that shape.

    With d = reference - logp: k1 = -d is unbiased and signed, k2 = d^2 / 2 biased, k3 = e^d - 1 - d unbiased and never
    negative. `gradient` (by default the same as `value`) is the estimator whose gradient with respect to `logp` flows:
    1, -d and 1 - e^d. That of k1 is 0 in expectation; k2's is that of the reverse KL, k3's of the forward one
    (arXiv:2510.01555). It is multiplied by `ratio`, the policy's probability over that of who drew the tokens. From
    d = 20 on k3 and its gradient stay what they are there. Differentiable once, with respect to `logp` alone.
    """
    dtype = accumulation(logp, reference)
    new, old = logp.to(dtype), reference.detach().to(dtype)
    difference = old - new.detach()
    slope = _slope(difference, gradient or value)
    if ratio is not None:
        slope = slope * ratio.detach().to(dtype)
    return _value(difference, value) + slope * (new - new.detach())


def policy_loss(
    logp: Tensor,
    old_logp: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    objective: Objective = "clip",
    ratio: Ratio = "token",
    low: float = 0.2,
    high: float = 0.2,
    dual: float | None = None,
    aggregation: Aggregation | Tensor = "token_mean",
    length: int | None = None,
    reference: Tensor | None = None,
    kl: float = 0.0,
    kl_value: Estimator = "k3",
    kl_gradient: Estimator = "k2",
    entropy: Tensor | None = None,
    entropy_weight: float = 0.0,
    correction: Tensor | None = None,
) -> PolicyLoss:
    """Sum over the unmasked tokens of w (-gain + kl KL - entropy_weight entropy), and what is to be watched of it.

    All [B,T]. With r = exp(logp - old_logp), or with ratio "sequence" the exponential of its mean over the row's
    unmasked tokens (GSPO, arXiv:2507.18071), the gain is
    - "clip": min(r A, clamp(r, 1 - low, 1 + high) A) (PPO, arXiv:1707.06347, eq. 7; high > low: DAPO,
      arXiv:2503.14476); with `dual` > 1 at least dual A where A < 0 (arXiv:1912.09729); low = high = inf: r A;
    - "cispo": clamp(r, 1 - low, 1 + high) A logp with the factor held constant (arXiv:2506.13585).
    `correction` multiplies the gain (the truncated ratio of the trainer to the sampler, say). The weights w are those
    of `token_weights(mask, aggregation, length)`, or given as [B,T]. `reference` log-probs and `entropy` are needed
    where `kl` and `entropy_weight` are not 0, and measured where they are given; the KL is `kl_estimate` with kl_value
    and kl_gradient, where the gradient of k2 is weighed by r of the token.

    Gradients flow to `logp` and `entropy`. Metrics, averaged over the unmasked tokens: the shares that were clipped
    from below, from above and by `dual` (the first two as far as that stopped their gradient), the mean and the largest
    r, KL(old || new) by k3, entropy, and KL to the reference by k3 (0 for what is not given). Nothing unmasked: all 0.
    """
    dtype = accumulation(logp, old_logp, advantages)

    def there(x: Tensor | None) -> Tensor:
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device) if x is None else x.to(dtype).where(mask, 0.0)

    new, old, gains = there(logp), there(old_logp).detach(), there(advantages).detach()
    apart = new - old
    count = mask.sum(1, keepdim=True).clamp(min=1)
    step = apart if ratio == "token" else (apart.sum(1, keepdim=True) / count).expand_as(apart)
    r = step.exp()
    bounded = r.clamp(1 - low, 1 + high)
    if objective == "cispo":
        gain = bounded.detach() * gains * new
        below, above = r < 1 - low, r > 1 + high
        floored = torch.zeros_like(mask)
    else:
        gain = torch.minimum(r * gains, bounded * gains)
        stopped = r * gains > bounded * gains
        below, above = stopped & (r < 1), stopped & (r > 1)
        floored = (gains < 0) & (r > (math.inf if dual is None else dual))
        if dual is not None:
            gain = torch.where(gains < 0, torch.maximum(gain, dual * gains), gain)
    if correction is not None:
        gain = gain * there(correction).detach()
    loss = -gain
    if kl:
        assert reference is not None
        weighing = apart.detach().exp() if kl_gradient == "k2" else None
        loss = loss + kl * kl_estimate(new, there(reference), value=kl_value, gradient=kl_gradient, ratio=weighing)
    if entropy_weight:
        loss = loss - entropy_weight * there(entropy)
    weights = _weights(mask, aggregation, length, dtype) if isinstance(aggregation, str) else aggregation
    with torch.no_grad():
        drift = _value(apart, "k3")
        distance = _value(there(reference) - new, "k3") if reference is not None else torch.zeros_like(new)
        watched = torch.stack([below.to(dtype), above.to(dtype), floored.to(dtype), r, drift, there(entropy), distance])
        means = watched.where(mask, 0.0).sum((1, 2)) / mask.sum().clamp(min=1)
        most = r.where(mask, 0.0).amax() if r.numel() else r.new_zeros(())
        metrics = torch.cat([means[:4], most[None], means[4:]])
    return PolicyLoss((weights.to(dtype) * loss).where(mask, 0.0).sum(), metrics)


def token_weights(mask: Tensor, aggregation: Aggregation = "token_mean", length: int | None = None) -> Tensor:
    """[B,T] f32, 0 off-mask, so that (weights * values).sum() is the loss.

    token_mean: every token alike (DAPO, arXiv:2503.14476); sequence_mean: every answer alike, its tokens averaged
    (GRPO, arXiv:2402.03300); sequence_sum: every answer alike, its tokens summed (REINFORCE); constant: tokens summed
    and divided by a fixed `length` (Dr. GRPO, arXiv:2503.20783). Answers without a token count in no denominator.
    """
    return _weights(mask, aggregation, length, torch.float32)


def _weights(mask: Tensor, aggregation: Aggregation, length: int | None, dtype: torch.dtype) -> Tensor:
    tokens = mask.to(dtype)
    lengths = tokens.sum(1, keepdim=True)
    answers = (lengths > 0).sum().clamp(min=1)
    if aggregation == "token_mean":
        return tokens / lengths.sum().clamp(min=1)
    if aggregation == "sequence_mean":
        return tokens / (lengths.clamp(min=1) * answers)
    return tokens / (answers if aggregation == "sequence_sum" else answers * (length or 1))


def _value(d: Tensor, estimator: Estimator) -> Tensor:
    """Of d = log q - log p, for a token of p."""
    if estimator == "k1":
        return -d
    if estimator == "k2":
        return d.square() / 2
    held = d.clamp(max=FAR)
    series = held.square() / 2 * (1 + held / 3 + held.square() / 12)
    return torch.where(held.abs() < NEAR, series, held.expm1() - held)


def _slope(d: Tensor, estimator: Estimator) -> Tensor:
    """The derivative of `_value` with respect to log p."""
    if estimator == "k1":
        return torch.ones_like(d)
    return -d if estimator == "k2" else -d.clamp(max=FAR).expm1()
