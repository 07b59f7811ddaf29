"""The compiled Triton kernels, where triton is installed."""

from __future__ import annotations

missing: str | None = "this version has no triton kernels"
