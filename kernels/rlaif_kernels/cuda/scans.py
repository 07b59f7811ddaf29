"""`reference.scans` in CUDA: each row's recursion as a scan in log time, in one pass for advantages and returns.

Long rows, where they are few, are cut up among several blocks; the numbers are the same as if they were not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import cuda
from rlaif_kernels.cuda import address, plain
from rlaif_kernels.reference.numbers import accumulation

__all__ = ["gae", "vtrace"]

WARP, BLOCK = 32, 256  # threads
LONG = 8192  # tokens from which on a row is worth three launches
FEW_PACKED = 32  # sequences up to which every one of them gets the blocks that the longest possible would need


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
    return _scan(None, rewards, values, mask, dones, next_values, cu_seqlens, gamma, lam)


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
    clips = rho_clip, trace_clip
    advantages, targets = _scan(log_ratios, rewards, values, mask, dones, next_values, cu_seqlens, gamma, lam, clips)
    return targets, advantages


def _scan(
    log_ratios: Tensor | None,
    rewards: Tensor,
    values: Tensor | None,
    mask: Tensor,
    dones: Tensor | None,
    next_values: Tensor | None,
    cu_seqlens: Tensor | None,
    gamma: float | Tensor,
    lam: float | Tensor,
    clips: tuple[float, float] = (1.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """(advantages, targets for the values), shaped as the rewards."""
    dtype = accumulation(log_ratios, rewards, values, next_values)
    advantages = torch.empty(rewards.shape, dtype=dtype, device=rewards.device)
    targets = torch.empty_like(advantages)
    steps = rewards.shape[-1]
    rows = len(rewards) if cu_seqlens is None else len(cu_seqlens) - 1
    if advantages.numel() == 0 or rows == 0:
        return advantages, targets
    offsets = plain(cu_seqlens, torch.int64)
    floats = [plain(tensor, dtype) for tensor in (log_ratios, rewards, values, next_values)]
    flags = [plain(tensor, torch.bool) for tensor in (mask, dones)]
    each, common = zip(*(_numbers(number, dtype) for number in (gamma, lam)), strict=True)
    threads, room = _shares(advantages, rows, steps, packed=cu_seqlens is not None)
    run = cuda.binary.scan_f64 if dtype == torch.float64 else cuda.binary.scan_f32
    where = cuda.queue(rewards)
    given = (*floats, *flags, *each)
    out = address(advantages), address(targets)
    run(where, rows, steps, address(offsets), *map(address, given), *common, *clips, *out, threads, address(room))
    return advantages, targets


def _numbers(number: float | Tensor, dtype: torch.dtype) -> tuple[Tensor | None, float]:
    """(one a row, one for all), of which one counts."""
    return (plain(number, dtype), 0.0) if isinstance(number, Tensor) else (None, float(number))


def _shares(like: Tensor, rows: int, steps: int, *, packed: bool) -> tuple[int, Tensor | None]:
    """(threads a block, room for the links of tiles or None). How many threads depends on the steps alone."""
    items: Any = cuda.binary.ITEMS * 4 // like.itemsize
    threads = BLOCK if packed else min(BLOCK, -(-steps // (WARP * items)) * WARP)
    if steps <= LONG or not cuda.few(rows) or (packed and rows > FEW_PACKED):
        return threads, None
    tiles = -(-steps // (threads * items))
    return threads, like.new_empty(rows, tiles, cuda.binary.LINK)
