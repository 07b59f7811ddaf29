"""`reference.masked_whiten` by the kernel of a backend, and its gradient from what the kernel found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import reference

__all__ = ["Kernel", "masked_whiten"]

Kernel = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
"""x and mask of one shape, eps -> whitened in `accumulation` of x, and 1 / sqrt(variance + eps) []; neither in a graph.
"""


def masked_whiten(kernel: Kernel, x: Tensor, mask: Tensor, *, eps: float = 1e-8) -> Tensor:
    """`reference.masked_whiten`."""
    if not (x.requires_grad and torch.is_grad_enabled()):
        return kernel(x, mask, eps)[0]
    whitened: Tensor = Whitened.apply(x, mask, eps, kernel)  # type: ignore[no-untyped-call]
    return whitened


class Whitened(torch.autograd.Function):
    """Backwards it begins with what is whitened already: the definition's steps, with a large mean, lose digits."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, eps: float, kernel: Kernel) -> Tensor:
        out, ctx.scale = kernel(x, mask, eps)
        ctx.eps = eps
        ctx.save_for_backward(x, mask, out)
        return out

    @staticmethod
    def backward(ctx: Any, of_out: Tensor) -> tuple[Tensor, None, None, None]:
        x, mask, out = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated in its turn
            again = reference.masked_whiten(x, mask, eps=ctx.eps)
            return torch.autograd.grad(again, x, of_out, create_graph=True)[0], None, None, None
        slope = of_out.masked_fill(~mask, 0.0)
        count = mask.sum().clamp(min=1)
        along = slope.sum() / count + out * ((slope * out).sum() / count)
        return (ctx.scale * (slope - along)).masked_fill(~mask, 0.0).to(x.dtype), None, None, None
