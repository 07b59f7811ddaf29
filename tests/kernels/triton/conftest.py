"""Where the kernels run in these tests: on a GPU, or in Triton's interpreter, where `test_interpreter` starts them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from rlaif_kernels import triton as backend


@pytest.fixture
def device() -> Iterator[str]:
    if backend.missing:
        pytest.skip(f"{backend.missing}; test_interpreter.py runs this in a process of its own")
    # What a mask hides is computed with and then not selected: numpy warns of it, a GPU would not.
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield "cpu" if backend.interpreted else "cuda"


@pytest.fixture
def eps() -> float:
    """The distance from 1 to the next float32."""
    return torch.finfo(torch.float32).eps
