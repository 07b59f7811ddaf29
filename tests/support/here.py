"""Which implementations tests with tensors in the CPU's memory are about, whatever devices the machine has."""

from __future__ import annotations

import rlaif_kernels as rk
from rlaif_kernels import dispatch


def implementations(operation: str) -> list[str]:
    """Those that are here and take such tensors, best first."""
    return [impl for impl in rk.implementations(operation) if impl == "torch" or dispatch.backend(impl).DEVICE == "cpu"]
