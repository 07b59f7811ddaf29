"""Triton's interpreter, which stands in for a GPU in processes that are started with a variable."""

from __future__ import annotations

import importlib.util
import os
import re
from importlib.metadata import version


def hindrance() -> str | None:
    """Why it cannot be used here; None if it can."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if _version("triton") < (3, 9) and _version("numpy") >= (2, 4):
        return "the interpreter of this triton breaks with numpy 2.4: triton-lang/triton#9171"
    return None


def environment() -> dict[str, str]:
    """For such a process."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return plain | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def _version(of: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version(of))[:2]))
