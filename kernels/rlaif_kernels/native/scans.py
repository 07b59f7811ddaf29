"""`reference.scans` in C++: one pass over each row, a vector of tokens at a time in float32, one by one in float64."""

from __future__ import annotations

import torch
from torch import Tensor, get_num_threads
from torch.autograd.graph import increment_version

from rlaif_kernels.native import address, binary
from rlaif_kernels.reference.numbers import accumulation

__all__ = ["at_once", "gae", "vtrace"]

variant = ""
"""One of `binary.variants()`, by default the first: tests try them all."""


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
    return _scan((rewards, values, next_values, None), (mask, dones), cu_seqlens, gamma, lam)


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
    given = (rewards, values, next_values, log_ratios)
    return _scan(given, (mask, dones), cu_seqlens, gamma, lam, rho_clip, trace_clip)


def _scan(
    floats: tuple[Tensor, Tensor | None, Tensor | None, Tensor | None],
    flags: tuple[Tensor, Tensor | None],
    cu_seqlens: Tensor | None,
    gamma: float | Tensor,
    lam: float | Tensor,
    rho_clip: float = 1.0,
    trace_clip: float = 1.0,
) -> tuple[Tensor, Tensor]:
    dtype = accumulation(*floats)
    shape = floats[0].shape
    first, second = (floats[0].new_empty(shape, dtype=dtype) for _ in range(2))
    # These locals own what the addresses point at until the call returns.
    numbers = [_dense(one, dtype) for one in floats]
    truths = [_dense(one, torch.bool) for one in flags]
    offsets = _dense(cu_seqlens, torch.int64)
    each = [_dense(one, torch.float64) if isinstance(one, Tensor) else None for one in (gamma, lam)]
    common = [0.0 if isinstance(one, Tensor) else one for one in (gamma, lam)]
    count, steps = shape if offsets is None else (len(offsets) - 1, 0)
    run = binary.scan_f32 if dtype == torch.float32 else binary.scan_f64
    run(
        *map(address, (*numbers, *truths, first, second)),
        count,
        steps,
        *map(address, (offsets, *each)),
        *common,
        rho_clip,
        trace_clip,
        get_num_threads(),
        variant,
    )
    return first, second


def _dense(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else tensor.detach().to(dtype).contiguous()


def at_once(
    given: tuple[Tensor, Tensor | None, Tensor, Tensor | None, Tensor | None],
    gamma: float | Tensor,
    lam: float | Tensor,
    out: tuple[Tensor, Tensor] | None,
    wanted: tuple[bool, bool] = (True, True),
) -> tuple[Tensor | None, Tensor | None] | None:
    """`gae` of rewards, values, mask, dones and next values, where they are dense rows in float32; None elsewhere.

    The binary looks at them by itself: for short rows, asking each in Python what it is takes ten times as long.
    Without `out`, None stands for a result that is not wanted.
    """
    if variant:
        return None
    pair = binary.gae_at_once(given, gamma, lam, out, *wanted)
    if out is not None and pair is not None:
        increment_version(out)  # whoever kept what stood there for a gradient is told
    return pair
