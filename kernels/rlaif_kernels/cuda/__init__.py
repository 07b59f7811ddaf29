"""The compiled CUDA module, where there is one."""

from __future__ import annotations

missing: str | None = "this version has no cuda kernels"
