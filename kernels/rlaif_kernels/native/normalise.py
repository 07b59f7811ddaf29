"""`reference.normalise` in C++: passes for the moments, and one that applies them."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from rlaif_kernels import reference, whitening
from rlaif_kernels.native import binary
from rlaif_kernels.native.differentiable import differentiable

__all__ = ["group_normalise", "masked_whiten"]

variant = ""
"""One of `binary.variants()`, by default the first: tests try them all."""


def _whitened(x: Tensor, mask: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The numbers, and 1 / sqrt(variance + eps)."""
    numbers, flags = x.detach().float().contiguous(), mask.contiguous()
    out, factor = torch.empty_like(numbers), numbers.new_empty(())
    pointers = numbers.data_ptr(), flags.data_ptr(), x.numel(), eps, out.data_ptr(), factor.data_ptr()
    binary.whiten(*pointers, torch.get_num_threads(), variant)
    return out, factor


def group_normalise(
    x: Tensor, group: Tensor, mask: Tensor, *, scale: Literal["std", "none"], unbiased: bool, noise: float
) -> Tensor:
    options: dict[str, Any] = {"scale": scale, "unbiased": unbiased, "noise": noise}
    return differentiable(partial(_grouped, **options), partial(reference.group_normalise, **options), x, group, mask)


def _grouped(x: Tensor, group: Tensor, mask: Tensor, *, scale: str, unbiased: bool, noise: float) -> Tensor:
    numbers, names, flags = x.detach().float().contiguous(), group.contiguous(), mask.contiguous()
    out = torch.empty_like(numbers)
    pointers = numbers.data_ptr(), names.data_ptr(), flags.data_ptr()
    binary.group_normalise(*pointers, len(out), scale == "std", unbiased, noise, out.data_ptr())
    return out


masked_whiten = partial(whitening.masked_whiten, _whitened)
