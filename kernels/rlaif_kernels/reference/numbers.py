"""What all definitions have in common: the precision that is reckoned in."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

__all__ = ["accumulation", "capturing", "exact"]


def accumulation(*tensors: Tensor | None) -> torch.dtype:
    """The dtype sums are kept in and results come back in: float64 if any input has it, else float32."""
    return torch.float64 if any(t is not None and t.dtype == torch.float64 for t in tensors) else torch.float32


def capturing(tensor: Tensor) -> bool:
    """Whether a CUDA graph is being captured, which asking a tensor for its numbers would break."""
    return tensor.is_cuda and torch.cuda.is_current_stream_capturing()


def exact(like: Tensor) -> AbstractContextManager[object]:
    """Inside, autocast rounds nothing on this tensor's device: a product is in the dtype of what is multiplied."""
    kind = like.device.type
    return nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)
