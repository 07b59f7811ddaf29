"""`reference.masked_whiten` in CUDA: the moments of tiles merged in a fixed order, then one pass that applies them."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from rlaif_kernels import cuda, whitening
from rlaif_kernels.cuda import address, plain
from rlaif_kernels.reference.numbers import accumulation

__all__ = ["masked_whiten"]


def _whitened(x: Tensor, mask: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    dtype = accumulation(x)
    dense, here = plain(x, dtype), plain(mask, torch.bool)
    out = torch.empty(x.shape, dtype=dtype, device=x.device)
    count = out.numel()
    tiles = -(-count // cuda.binary.TILE)
    parts = torch.empty(tiles, 3, dtype=torch.float64, device=x.device)
    stats = out.new_empty(3)
    run = cuda.binary.whiten_f64 if dtype == torch.float64 else cuda.binary.whiten_f32
    run(cuda.queue(x), count, address(dense), address(here), eps, address(parts), address(stats), address(out))
    return out, stats[2]


masked_whiten = partial(whitening.masked_whiten, _whitened)
