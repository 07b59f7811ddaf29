"""Products of bfloat16 numbers into float32, which torch does not offer on the CPU; in C++, by AVX512_BF16."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from rlaif_kernels import fresh, native
from rlaif_kernels.dispatch import plain
from rlaif_kernels.native import address, missing, refuses

__all__ = ["NARROW", "able", "product", "suits"]

NARROW = 1024
"""Twice `depth` in csrc/product.hpp: what is wider is summed in several passes."""


@cache
def able() -> bool:
    """Whether this processor multiplies pairs of bfloat16, and the binary knows how."""
    return missing is None and bool(native.binary.product_able())


def suits(x: Tensor, weight: Tensor) -> bool:
    """Whether `product` takes x [N,I] and weight [O,I], here and now."""
    return (
        x.dtype is weight.dtype is torch.bfloat16
        and able()
        and not plain()
        and refuses((x, weight)) is None
        and all(_lies(one) for one in (x, weight))
        and x.shape[1] > 0
    )


def product(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, onto: Tensor | None = None, *, narrow: bool = False
) -> Tensor:
    """x [N,I] bf16, weight [O,I] bf16, bias [O] -> x @ weight.T + bias [N,O] f32; not differentiable.

    Each of the two lies row after row or column after column. onto: what is added to instead, in place; f32, its rows
    whole. narrow: the result is rounded to bf16 at once, if I is at most `NARROW`. A row's numbers are the same bits
    whichever rows, columns and threads there are besides. Numbers below 2^-126 count as 0.
    """
    narrow = narrow and x.shape[1] <= NARROW
    out = fresh.empty(len(x), len(weight), dtype=torch.bfloat16 if narrow else torch.float32) if onto is None else onto
    start = None if bias is None else bias.detach().float().contiguous()
    laid = [(one.data_ptr(), *_steps(one)) for one in (x, weight)]
    native.binary.product(
        *laid[0],
        *laid[1],
        address(start),
        onto is not None,
        *x.shape,
        len(weight),
        out.data_ptr(),
        out.stride(0),
        narrow,
        torch.get_num_threads(),
    )
    return out


def _lies(x: Tensor) -> bool:
    """Whether the numbers of one row, or else those of one column, lie side by side."""
    return 1 in _steps(x)


def _steps(x: Tensor) -> tuple[int, int]:
    """Numbers from one row to the next, and from one column to the next; a step that is never taken counts as 1."""
    across, along = x.stride()
    return (across, 1) if x.shape[1] == 1 else (1 if len(x) == 1 and along != 1 else across, along)
