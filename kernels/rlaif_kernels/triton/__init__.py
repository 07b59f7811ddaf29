"""Kernels in Triton, for GPUs; triton itself is imported when the first of them is asked for.

Under TRITON_INTERPRET=1, set before triton is imported, they run on the CPU instead: slowly, for tests.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import gpu

__all__ = ["DEVICE", "OPTIONS", "build_info", "device_of", "interpreted", "missing", "refuses"]

OPTIONS: dict[str, Any] = {"enable_fp_fusion": True}
"""For the compiler: multiplications and additions are fused, whatever the default of this triton is."""

interpreted: bool = os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")
"""Whether triton's interpreter stands in for a GPU; "auto" never chooses it."""


def _lacking() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    # Counted without waking the driver where possible, which is_available() does: a fork may still come.
    if not interpreted and torch.cuda.device_count() == 0:
        return "there is no GPU, nor is TRITON_INTERPRET=1 set"
    return None


missing: str | None = _lacking()
DEVICE = "cpu" if interpreted else "cuda"


def build_info() -> dict[str, str]:
    """Which triton compiles the kernels, or interprets them."""
    import triton

    return {"triton": f"triton {triton.__version__}", "target": "the interpreter" if interpreted else "GPU"}


def refuses(tensors: Sequence[Tensor | None]) -> str | None:
    """Why these tensors cannot be handed to a kernel; None if they can."""
    return gpu.refuses(tensors, DEVICE)


def device_of(tensor: Tensor) -> AbstractContextManager[object]:
    """Inside, kernels are launched on the GPU that holds the tensor: Triton takes the current one."""
    return torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
