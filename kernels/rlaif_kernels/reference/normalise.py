"""Making numbers comparable: shifted to mean 0 and, if wanted, scaled to variance 1."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rlaif_kernels.reference.numbers import accumulation

__all__ = ["NOISE", "group_normalise", "masked_whiten"]

NOISE = 1e-6
"""A spread smaller than this share of the numbers' own size is rounding in float32, not a difference."""


def masked_whiten(x: Tensor, mask: Tensor, *, eps: float = 1e-8) -> Tensor:
    """(x - mean) / sqrt(variance + eps) over the unmasked entries of the whole tensor; 0 elsewhere.

    Any shape -> the same shape. The variance is the population's (divided by n), in two passes, so that a large mean
    does not swallow it. One entry alone whitens to 0; no entry at all gives zeros.
    """
    kept = x.to(accumulation(x)).masked_fill(~mask, 0.0)
    count = mask.sum().clamp(min=1)
    centred = (kept - kept.sum() / count).masked_fill(~mask, 0.0)
    return centred * torch.rsqrt(centred.square().sum() / count + eps)


def group_normalise(
    x: Tensor,
    group: Tensor,
    mask: Tensor,
    *,
    scale: Literal["std", "none"] = "std",
    unbiased: bool = False,
    noise: float = NOISE,
) -> Tensor:
    """(x - mean) / std over the unmasked numbers of each group (GRPO, arXiv:2402.03300); 0 off the mask.

    x [N], group [N] int64 (the same number for the members of a group, wherever they stand), mask [N] -> [N].
    `scale` "none" leaves out the division (Dr. GRPO, arXiv:2503.20783). The std is the population's, or with
    `unbiased` that of a sample (n - 1). A group whose numbers differ by no more than `noise` of their own size, or that
    has one alone, gives exactly 0.
    """
    names, number = torch.unique(group, return_inverse=True)
    groups = len(names)

    def over(values: Tensor) -> Tensor:
        return values.new_zeros(groups).index_add(0, number, values)[number]

    values = x.to(accumulation(x)).masked_fill(~mask, 0.0)
    none = values.new_full((groups,), torch.inf)
    lowest = none.scatter_reduce(0, number, values.masked_fill(~mask, torch.inf), "amin")[number]
    # Reckoned from the lowest, so that equal values differ by 0 and not by how their sum was rounded.
    above = (values - lowest).masked_fill(~mask, 0.0)
    size = over(mask.to(values.dtype)).clamp(min=1)
    centred = (above - over(above) / size).masked_fill(~mask, 0.0)
    variance = over(centred.square()) / (size - int(unbiased)).clamp(min=1)
    flat = variance <= noise**2 * over(values.square()) / size
    if scale == "std":
        centred = centred / variance.masked_fill(flat, 1.0).sqrt()  # the gradient of a root of 0 is infinite
    return centred.masked_fill(flat, 0.0)
