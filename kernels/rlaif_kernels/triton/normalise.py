"""`reference.normalise` in Triton: as it is defined, with a mean that is not rounded, and the same from run to run."""

from __future__ import annotations

from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from rlaif_kernels import whitening
from rlaif_kernels.reference.numbers import accumulation
from rlaif_kernels.triton import OPTIONS, device_of
from rlaif_kernels.triton.kernels import normalise as kernels

__all__ = ["TILE", "masked_whiten"]

TILE = 4096
TILES = 256  # taken in at once when they are merged


def _whitened(x: Tensor, mask: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    x, mask = x.detach().contiguous(), mask.contiguous().view(torch.uint8)
    out = torch.empty(x.shape, dtype=accumulation(x), device=x.device)
    size, tiles = x.numel(), triton.cdiv(x.numel(), TILE)
    parts, moments = (torch.empty(shape, dtype=torch.float64, device=x.device) for shape in ((tiles, 4), 2))
    options = {"DTYPE": tl.float64 if out.dtype == torch.float64 else tl.float32, "TILE": TILE, **OPTIONS}
    with device_of(x):
        kernels.partials[(tiles,)](x, mask, parts, size, **options)
        kernels.merge[(1,)](parts, tiles, moments, EPS=float(eps), TILES=TILES, **OPTIONS)
        kernels.apply[(tiles,)](x, mask, moments, out, size, **options)
    return out, moments[1]


masked_whiten = partial(whitening.masked_whiten, _whitened)
