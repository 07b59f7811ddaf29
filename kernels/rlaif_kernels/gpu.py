"""What the backends for GPUs share: what they refuse, where rows lie, and that they wait for nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from rlaif_kernels.rows import Rows, transformed

__all__ = ["check", "check_ids", "height_of", "layout", "refuses"]


def refuses(tensors: Sequence[Tensor | None], device: str) -> str | None:
    """Why a kernel that runs on this type of device cannot take these tensors by their addresses; None if it can."""
    if torch.compiler.is_compiling() or transformed():
        return "cannot be traced by torch.compile or torch.func"
    devices = set()
    for tensor in tensors:
        if tensor is None:
            continue
        if type(tensor) not in (Tensor, torch.nn.Parameter):
            return f"needs plain tensors and got {type(tensor).__name__}"
        if tensor.device.type != device:
            return f"runs on {device.upper()} devices and got a tensor on {tensor.device}"
        dense = tensor.layout == torch.strided and not (tensor.is_nested or tensor.is_quantized)
        if not dense or tensor.is_neg() or tensor.is_conj():
            return "needs dense tensors"
        if tensor.data_ptr() == 0 and tensor.numel() > 0:  # zeros that autograd makes, or what was freed
            return "needs tensors that have memory"
        if unpack_dual(tensor).tangent is not None:  # type: ignore[no-untyped-call]
            return "is not for forward-mode differentiation"
        devices.add(tensor.device)
    if len(devices) > 1:
        return "needs tensors on one device and got " + " and ".join(sorted(map(str, devices)))
    return None


def waits() -> bool:
    """Whether the device may be waited for, to find what is wrong: RLAIF_CUDA_SYNC=1, as in csrc/cuda/launch.cuh."""
    return os.environ.get("RLAIF_CUDA_SYNC", "").startswith("1")


def check(rows: Rows, vocabulary: int) -> None:
    """Nothing, unless it may wait for the device: a target that is not in the vocabulary has the log-prob NaN."""
    if waits():
        _within("target", rows.targets[rows.targets != rows.ignored], vocabulary)


def check_ids(ids: Tensor, vocabulary: int) -> None:
    """As `check`; ids below 0 stand for none."""
    if waits():
        _within("kept token", ids[ids >= 0], vocabulary)


def _within(what: str, ids: Tensor, end: int) -> None:
    wrong = ids[(ids < 0) | (ids >= end)]
    if len(wrong):
        raise IndexError(f"{what} {int(wrong[0])} is not in a vocabulary of {end}")


def height_of(rows: Tensor) -> int:
    """How many rows there are in [N,W] or [A,B,W]."""
    return rows.shape[:-1].numel()


def layout(rows: Tensor) -> tuple[int, int, int]:
    """(group, far, near) of [N,W] or [A,B,W]: row n begins n // group * far + n % group * near entries after the first.

    So a view such as `logits[:, :-1]`, whose rows are not equally far apart, is read where it lies.
    """
    *outer, near, _ = rows.stride()
    return max(rows.shape[-2], 1), outer[0] if outer else 0, near
