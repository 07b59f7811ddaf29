"""New memory for what is large, in large pages where the system has them for those who ask.

Memory is handed out in pages of 4 KiB, each of which costs a fault when it is first written: for a gradient of logits,
several times as long as computing it. Linux gives pages of 2 MiB to those who ask (in its usual setting, "madvise").
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif_kernels import native

__all__ = ["LARGE", "cast", "empty", "like", "paged"]

LARGE = 2**25
"""Bytes from which on the C library asks the system for new memory each time: 32 MiB. Less than that it keeps."""


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """[shape] on the CPU, not written to."""
    return paged(torch.empty(shape, dtype=dtype, device="cpu"))


def like(one: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """As `torch.empty_like`, where it is dense as a copy would be."""
    return paged(torch.empty_like(one, dtype=dtype))


def cast(one: Tensor, dtype: torch.dtype) -> Tensor:
    """The same numbers in a dtype; itself if that is its own."""
    return one if one.dtype == dtype else like(one, dtype).copy_(one)


def paged(new: Tensor) -> Tensor:
    """What was just allocated and not written to yet, with large pages behind it if it is large."""
    if new.is_cpu and new.numel() * new.element_size() >= LARGE and native.missing is None:
        native.binary.ask_large_pages(new.data_ptr(), new.numel() * new.element_size())
    return new
