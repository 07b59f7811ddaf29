"""`reference.masked_whiten` in C++: two passes for the moments, one that applies them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import reference
from rlaif_kernels.native import binary

__all__ = ["masked_whiten"]

variant = ""
"""One of `binary.variants()`, by default the first: tests try them all."""


def masked_whiten(x: Tensor, mask: Tensor, *, eps: float = 1e-8) -> Tensor:
    if not (x.requires_grad and torch.is_grad_enabled()):
        return _whitened(x, mask, eps)
    result: Tensor = Whitened.apply(x, mask, eps)  # type: ignore[no-untyped-call]
    return result


class Whitened(torch.autograd.Function):
    """Advantages are whitened detached, as a rule; so the way back is the definition's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, eps: float) -> Tensor:
        ctx.eps = eps
        ctx.save_for_backward(x, mask)
        return _whitened(x, mask, eps)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        x, mask = ctx.saved_tensors
        with torch.enable_grad():
            white = reference.masked_whiten(x, mask, eps=ctx.eps)
        return *torch.autograd.grad(white, x, slope, create_graph=torch.is_grad_enabled()), None, None


def _whitened(x: Tensor, mask: Tensor, eps: float) -> Tensor:
    numbers, flags = x.detach().float().contiguous(), mask.contiguous()
    out = torch.empty(x.shape)
    pointers = numbers.data_ptr(), flags.data_ptr(), x.numel(), eps, out.data_ptr()
    binary.whiten(*pointers, torch.get_num_threads(), variant)
    return out
