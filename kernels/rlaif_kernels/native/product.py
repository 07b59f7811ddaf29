"""Products of bfloat16 numbers into float32, which torch does not offer on the CPU; in C++, by AVX512_BF16."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from rlaif_kernels import native
from rlaif_kernels.dispatch import plain
from rlaif_kernels.native import address, missing, refuses

__all__ = ["able", "product", "suits"]


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
        and all(one.stride(-1) == 1 or one.shape[-1] == 1 for one in (x, weight))
        and x.shape[1] > 0
    )


def product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [N,I] bf16, weight [O,I] bf16, bias [O] -> x @ weight.T + bias [N,O] f32; not differentiable.

    A row's numbers are the same bits whichever rows, columns and threads there are besides. Numbers below 2^-126 count
    as 0.
    """
    out = torch.empty(len(x), len(weight), dtype=torch.float32)
    start = None if bias is None else bias.detach().float().contiguous()
    sizes = (*x.shape, len(weight))
    laid = (x.data_ptr(), x.stride(0), weight.data_ptr(), weight.stride(0), address(start))
    native.binary.product(*laid, *sizes, out.data_ptr(), out.stride(0), torch.get_num_threads())
    return out
