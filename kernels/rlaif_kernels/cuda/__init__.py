"""The compiled CUDA module, where there is one and a device to run it, as the files beside this one call it.

The binary knows addresses, sizes and a stream, no tensors, so one build serves every torch. It is imported when it is
first asked about, which initialises no device. What makes an address safe is checked or arranged by its callers: all
memory is torch's, and work goes to torch's current stream, so that it may be captured in a graph and is waited for by
nobody.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import gpu

__all__ = ["DEVICE", "NUMBERS", "address", "binary", "build_info", "few", "missing", "plain", "queue", "refuses"]

DEVICE = "cuda"
NUMBERS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}  # as in csrc/cuda/kernels.hpp
FEW = 512  # rows or fewer are shared out among several blocks each: four for each of the 132 processors of an H100

binary: Any
missing: str | None
"""Why nothing can run here; None if it can."""


def __getattr__(name: str) -> Any:
    """`binary` and `missing`, found out when first asked for."""
    if name not in ("binary", "missing"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: dict[str, Any] = {"binary": None, "missing": None}
    try:
        found["binary"] = importlib.import_module("rlaif_kernels._native_cuda")
    except ImportError as error:
        found["missing"] = f"the compiled module is not part of this installation ({error})"
    else:
        # Counted without waking the driver where possible, which is_available() does: a fork may still come.
        if torch.version.cuda is None or torch.cuda.device_count() == 0:
            found["missing"] = f"torch {torch.__version__} sees no CUDA device"
    globals().update(found)
    return found[name]


def build_info() -> dict[str, str]:
    """With which compiler the binary was built, and for which architectures."""
    info: dict[str, str] = sys.modules[__name__].binary.build_info()
    return info


def refuses(tensors: Sequence[Tensor | None]) -> str | None:
    """Why these tensors cannot be handed over as bare addresses; None if they can."""
    return gpu.refuses(tensors, DEVICE)


def queue(tensor: Tensor) -> tuple[int, int]:
    """Where work on a tensor goes: the index of its device, and torch's current stream there as a cudaStream_t."""
    stream = torch.cuda.current_stream(tensor.device)
    return stream.device_index, stream.cuda_stream


def address(tensor: Tensor | None) -> int:
    """Where the data begins; 0, the null pointer, for an argument that was not given."""
    return 0 if tensor is None else tensor.data_ptr()


def plain(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Dense, in this dtype, and apart from any graph. Whoever takes its address keeps it until the call returns."""
    return None if tensor is None else tensor.detach().to(dtype).contiguous()


def few(rows: int) -> bool:
    """Whether a block each would leave most of a device idle."""
    return rows <= FEW
