"""`reference.scans` in Triton: one pass where there are rows enough to fill the GPU, three short kernels where not.

Rows are cut into blocks of BLOCK tokens. With few and long rows, and with packed ones, whose lengths may differ by
much, each block is a program: the blocks' maps first, then the states between them, then the results. What is computed
of a row is the same either way, bit by bit, wherever it stands.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from rlaif_kernels.reference.numbers import accumulation
from rlaif_kernels.triton import OPTIONS, device_of
from rlaif_kernels.triton.kernels import scans as kernels

__all__ = ["BLOCK", "ENOUGH", "gae", "vtrace"]

BLOCK = 1024
WARPS = 8  # with fewer, V-trace's maps do not fit the registers
ENOUGH = 512  # rows from which on one program a row keeps a GPU busy
FEW = 4  # blocks of a row that one program goes through sooner than three kernels are launched


def gae(
    rewards: Tensor,
    values: Tensor | None,
    mask: Tensor,
    *,
    gamma: float | Tensor = 1.0,
    lam: float | Tensor = 0.95,
    dones: Tensor | None = None,
    next_values: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`reference.gae`."""
    return _scanned((rewards, values, mask, dones, next_values, None), (gamma, lam, 1.0, 1.0), cu_seqlens)


def vtrace(
    log_ratios: Tensor,
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    *,
    gamma: float | Tensor = 1.0,
    lam: float | Tensor = 1.0,
    rho_clip: float = 1.0,
    trace_clip: float = 1.0,
    dones: Tensor | None = None,
    next_values: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`reference.vtrace`."""
    numbers = (gamma, lam, rho_clip, trace_clip)
    return _scanned((rewards, values, mask, dones, next_values, log_ratios), numbers, cu_seqlens)


def _scanned(
    given: tuple[Tensor | None, ...], numbers: tuple[float | Tensor, ...], cu_seqlens: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Of the tensors and numbers in the order of `kernels.scan`."""
    rewards, *_ = dense = [_dense(one) for one in given]
    assert rewards is not None
    dtype = accumulation(*(one for one in given if one is not None and one.dtype != torch.bool))
    first, second = (torch.empty(rewards.shape, dtype=dtype, device=rewards.device) for _ in range(2))
    rows = len(rewards) if cu_seqlens is None else len(cu_seqlens) - 1
    steps = rewards.shape[-1]
    if rows == 0 or rewards.numel() == 0:
        return first, second
    cu_seqlens = _dense(cu_seqlens)
    total, blocks = rewards.numel(), triton.cdiv(steps, BLOCK)
    slots = rows * blocks if cu_seqlens is None else total // BLOCK + rows
    whole = cu_seqlens is None and (blocks <= FEW or rows >= ENOUGH)
    scalars = [float(one) if isinstance(one, int | float) else 1.0 for one in numbers]
    arguments = (*dense, first, second, *scalars, _each(numbers, rows, rewards, dtype), cu_seqlens, total, rows, steps)
    options = {"DTYPE": tl.float64 if dtype == torch.float64 else tl.float32, "BLOCK": BLOCK, **OPTIONS}
    with device_of(rewards):
        if whole:
            kernels.scan[(rows,)](*arguments, None, None, WHOLE=True, num_warps=WARPS, **options)
        else:
            maps, carries = (torch.empty(slots, size, dtype=dtype, device=rewards.device) for size in (6, 3))
            kernels.scan[(slots,)](*arguments, maps, None, WHOLE=False, num_warps=WARPS, **options)
            kernels.chain[(rows,)](maps, carries, cu_seqlens, total, steps, num_warps=1, **options)
            kernels.scan[(slots,)](*arguments, None, carries, WHOLE=False, num_warps=WARPS, **options)
    return first, second


def _dense(tensor: Tensor | None) -> Tensor | None:
    if tensor is None:
        return None
    dense = tensor.detach().contiguous()
    return dense.view(torch.uint8) if dense.dtype == torch.bool else dense


def _each(numbers: tuple[float | Tensor, ...], rows: int, like: Tensor, dtype: torch.dtype) -> Tensor | None:
    """[4,B], the numbers one a row, where one of them is; and in float64, which a kernel's arguments have not."""
    if dtype == torch.float32 and not any(isinstance(one, Tensor) for one in numbers):
        return None
    each = torch.empty(4, rows, dtype=dtype, device=like.device)
    for row, number in zip(each, numbers, strict=True):
        row.copy_(number.detach()) if isinstance(number, Tensor) else row.fill_(number)
    return each
