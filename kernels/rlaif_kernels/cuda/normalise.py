"""`reference.masked_whiten` in CUDA: the moments of tiles merged in a fixed order, then one pass that applies them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import cuda, reference
from rlaif_kernels.cuda import address, plain
from rlaif_kernels.reference.numbers import accumulation

__all__ = ["masked_whiten"]


def masked_whiten(x: Tensor, mask: Tensor, *, eps: float = 1e-8) -> Tensor:
    """`reference.masked_whiten`."""
    whitened: Tensor = Whiten.apply(x, mask, eps)[0]  # type: ignore[no-untyped-call]
    return whitened


class Whiten(torch.autograd.Function):
    """x and mask of one shape -> (whitened, [3]: the mean in two summands and 1 / sqrt(variance + eps))."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        dtype = accumulation(x)
        dense, here = plain(x, dtype), plain(mask, torch.bool)
        out = torch.empty(x.shape, dtype=dtype, device=x.device)
        count = out.numel()
        tiles = -(-count // cuda.binary.TILE)
        parts = torch.empty(tiles, 3, dtype=torch.float64, device=x.device)
        stats = out.new_empty(3)
        run = cuda.binary.whiten_f64 if dtype == torch.float64 else cuda.binary.whiten_f32
        run(cuda.queue(x), count, address(dense), address(here), eps, address(parts), address(stats), address(out))
        ctx.eps = eps
        ctx.save_for_backward(x, mask, out, stats)
        ctx.mark_non_differentiable(stats)
        return out, stats

    @staticmethod
    def backward(ctx: Any, of_out: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        x, mask, out, stats = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated in its turn
            again = reference.masked_whiten(x, mask, eps=ctx.eps)
            return torch.autograd.grad(again, x, of_out, create_graph=True)[0], None, None
        slope = of_out.masked_fill(~mask, 0.0)
        count = mask.sum().clamp(min=1)
        along = slope.sum() / count + out * ((slope * out).sum() / count)
        return (stats[2] * (slope - along)).masked_fill(~mask, 0.0).to(x.dtype), None, None
