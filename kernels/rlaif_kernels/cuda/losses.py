"""`reference.policy_loss` in CUDA: loss, slopes and metrics from one launch over the tokens and a small one after it.

What depends on all rows (how many tokens or answers there are) is one factor on the device, with which the backward
pass multiplies the slopes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rlaif_kernels import cuda
from rlaif_kernels.cuda import address, plain
from rlaif_kernels.loss_options import TOKENS, arranged
from rlaif_kernels.reference.losses import METRICS, PolicyLoss
from rlaif_kernels.reference.numbers import accumulation

__all__ = ["policy_loss"]


def policy_loss(logp: Tensor, *tokens: Tensor, entropy: Tensor | None = None, **options: Any) -> PolicyLoss:
    """`reference.policy_loss` of old log-probs, advantages, mask and its other options, none left out."""
    given, (share, length, *numbers) = arranged(dict(zip(TOKENS, tokens, strict=False), **options))
    return PolicyLoss(*Policy.apply(logp, entropy, given, (*numbers, share, float(length))))  # type: ignore[no-untyped-call]


class Policy(torch.autograd.Function):
    """Log-probs [B,T], entropies [B,T] or None, what else stands at the tokens, options -> (loss, metrics [8])."""

    @staticmethod
    def forward(
        ctx: Any,
        logp: Tensor,
        entropy: Tensor | None,
        others: list[Tensor],
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
