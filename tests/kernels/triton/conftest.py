"""Where the kernels run in these tests: on a GPU, or in Triton's interpreter, where `test_interpreter` starts them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from rlaif_kernels import triton as backend

# Without a GPU these are for the process that `test_interpreter` starts.
APART = ("test_compiled.py", "test_interpreter.py")
collect_ignore = [
    path.name for path in Path(__file__).parent.glob("test_*.py") if backend.missing and path.name not in APART
]


@pytest.fixture
def device() -> Iterator[str]:
    if backend.missing:
        pytest.skip(backend.missing)
    # What a mask hides is computed with and then not selected: numpy warns of it, a GPU would not.
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield "cpu" if backend.interpreted else "cuda"


@pytest.fixture
def eps() -> float:
    """The distance from 1 to the next float32."""
    return torch.finfo(torch.float32).eps
