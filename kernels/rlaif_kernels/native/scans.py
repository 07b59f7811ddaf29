"""`reference.scans` in C++: one pass over each row."""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif_kernels.native import address, binary
from rlaif_kernels.reference.numbers import accumulation

__all__ = ["gae"]


def gae(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    *,
    gamma: float = 1.0,
    lam: float = 0.95,
    dones: Tensor | None = None,
    next_values: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`reference.gae` in C++, one pass over each row with the running sums in float64."""
    dtype = accumulation(rewards, values, next_values)
    advantages = torch.empty(rewards.shape, dtype=dtype)
    returns = torch.empty_like(advantages)
    # These locals own what the addresses point at until the call returns.
    floats = [_dense(tensor, dtype) for tensor in (rewards, values, next_values)]
    flags = [_dense(tensor, torch.bool) for tensor in (mask, dones)]
    reward, value, after = map(address, floats)
    kept, done = map(address, flags)
    run = binary.gae_f64 if dtype == torch.float64 else binary.gae_f32
    out = advantages.data_ptr(), returns.data_ptr()
    rows, steps = rewards.shape
    run(reward, value, kept, done, after, *out, rows, steps, gamma, lam)
    return advantages, returns


def _dense(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if tensor is None else tensor.detach().to(dtype).contiguous()
