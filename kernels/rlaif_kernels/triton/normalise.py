"""`reference.normalise` in Triton: as it is defined, with a mean that is not rounded, and the same from run to run."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from rlaif_kernels import reference
from rlaif_kernels.reference.numbers import accumulation
from rlaif_kernels.triton import OPTIONS, device_of
from rlaif_kernels.triton.kernels import normalise as kernels

__all__ = ["TILE", "masked_whiten"]

TILE = 4096
TILES = 256  # taken in at once when they are merged


def masked_whiten(x: Tensor, mask: Tensor, *, eps: float = 1e-8) -> Tensor:
    """`reference.masked_whiten`, whose gradient, of any order, it also has."""
    result: Tensor = Whitened.apply(x, mask, eps)  # type: ignore[no-untyped-call]
    return result


class Whitened(torch.autograd.Function):
    """Advantages are whitened detached, as a rule; so the way back is the definition's."""

    @staticmethod
    def forward(x: Tensor, mask: Tensor, eps: float) -> Tensor:
        return _whitened(x.contiguous(), mask.contiguous().view(torch.uint8), eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        x, mask, ctx.eps = inputs
        ctx.save_for_backward(x, mask)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        x, mask = ctx.saved_tensors
        with torch.enable_grad():
            white = reference.masked_whiten(x, mask, eps=ctx.eps)
        return *torch.autograd.grad(white, x, slope, create_graph=torch.is_grad_enabled()), None, None


def _whitened(x: Tensor, mask: Tensor, eps: float) -> Tensor:
    out = torch.empty(x.shape, dtype=accumulation(x), device=x.device)
    size, tiles = x.numel(), triton.cdiv(x.numel(), TILE)
    parts, moments = (torch.empty(shape, dtype=torch.float64, device=x.device) for shape in ((tiles, 4), 2))
    options = {"DTYPE": tl.float64 if out.dtype == torch.float64 else tl.float32, "TILE": TILE, **OPTIONS}
    with device_of(x):
        kernels.partials[(tiles,)](x, mask, parts, size, **options)
        kernels.merge[(1,)](parts, tiles, moments, TILES=TILES, **OPTIONS)
        kernels.apply[(tiles,)](x, mask, moments, out, size, EPS=float(eps), **options)
    return out
