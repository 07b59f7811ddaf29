"""`reference.masked_whiten` in C++: two passes for the moments, one that applies them."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from rlaif_kernels import whitening
from rlaif_kernels.native import binary

__all__ = ["masked_whiten"]

variant = ""
"""One of `binary.variants()`, by default the first: tests try them all."""


def _whitened(x: Tensor, mask: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The numbers, and 1 / sqrt(variance + eps)."""
    numbers, flags = x.detach().float().contiguous(), mask.contiguous()
    out, factor = torch.empty_like(numbers), numbers.new_empty(())
    pointers = numbers.data_ptr(), flags.data_ptr(), x.numel(), eps, out.data_ptr(), factor.data_ptr()
    binary.whiten(*pointers, torch.get_num_threads(), variant)
    return out, factor


masked_whiten = partial(whitening.masked_whiten, _whitened)
