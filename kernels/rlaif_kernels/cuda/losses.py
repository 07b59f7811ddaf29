"""`reference.policy_loss` in CUDA: loss, slopes and metrics from one launch over the tokens and a small one after it.

What depends on all rows (how many tokens or answers there are) is one factor on the device, with which the backward
pass multiplies the slopes.
"""

from __future__ import annotations

import math
from typing import Any, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rlaif_kernels import cuda
from rlaif_kernels.cuda import address, plain
from rlaif_kernels.reference.losses import METRICS, Aggregation, Estimator, Objective, PolicyLoss, Ratio
from rlaif_kernels.reference.numbers import accumulation

__all__ = ["policy_loss"]

# The order of the enumerations in csrc/cuda/kernels.hpp.
ESTIMATORS = get_args(Estimator)
SHARES = (*get_args(Aggregation), "given")


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
    """`reference.policy_loss`."""
    weights = aggregation if isinstance(aggregation, Tensor) else None
    others = (old_logp, advantages, mask, reference, correction, weights)
    options = (
        objective == "cispo",
        ratio == "sequence",
        1 - low,
        1 + high,
        math.inf if dual is None else dual,
        kl,
        entropy_weight,
        ESTIMATORS.index(kl_value),
        ESTIMATORS.index(kl_gradient),
        SHARES.index(aggregation if isinstance(aggregation, str) else "given"),
        float(length or 1),
    )
    return PolicyLoss(*Policy.apply(logp, entropy, others, options))  # type: ignore[no-untyped-call]


class Policy(torch.autograd.Function):
    """Log-probs [B,T], entropies [B,T] or None, what else stands at the tokens, options -> (loss, metrics [8])."""

    @staticmethod
    def forward(
        ctx: Any,
        logp: Tensor,
        entropy: Tensor | None,
        others: tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None],
        options: tuple[Any, ...],
    ) -> tuple[Tensor, Tensor]:
        old_logp, advantages, mask, reference, correction, weights = others
        dtype = accumulation(logp, old_logp, advantages)
        given = [plain(tensor, dtype) for tensor in (logp, old_logp, advantages)]
        here = plain(mask, torch.bool)
        optional = [plain(tensor, dtype) for tensor in (reference, entropy, correction, weights)]
        (rows, steps), device = logp.shape, logp.device
        slopes = torch.empty(rows, steps, dtype=dtype, device=device)
        of_entropy = torch.empty_like(slopes) if ctx.needs_input_grad[1] else None
        sums = torch.empty(rows, cuda.binary.SUMS, dtype=torch.float64, device=device)
        loss, factor, metrics = slopes.new_empty(()), slopes.new_empty(()), slopes.new_empty(len(METRICS))
        run = cuda.binary.policy_loss_f64 if dtype == torch.float64 else cuda.binary.policy_loss_f32
        inputs = (*given, here, *optional)
        outputs = (slopes, of_entropy, sums, loss, factor, metrics)
        run(cuda.queue(logp), rows, steps, *map(address, inputs), *options, *map(address, outputs))
        ctx.save_for_backward(slopes, of_entropy, factor)
        ctx.dtypes = logp.dtype, None if entropy is None else entropy.dtype
        ctx.mark_non_differentiable(metrics)
        return loss, metrics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        *slopes, factor = ctx.saved_tensors
        weight = of_loss * factor
        of_logp, of_entropy = (
            (slope * weight).to(dtype) if slope is not None and needed else None
            for slope, dtype, needed in zip(slopes, ctx.dtypes, ctx.needs_input_grad, strict=False)
        )
        return of_logp, of_entropy, None, None
