"""Log-probs over what a sampler kept, in Triton against the definition in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", kept.SHAPES, ids=str)
@pytest.mark.parametrize("case", kept.OPTIONS)
def test_values_and_gradients_are_those_of_float64(
    case: str, shape: tuple[int, int, int, int], dtype: torch.dtype, device: str
) -> None:
    kept.agree("triton", shape, dtype, device, **kept.OPTIONS[case])


@pytest.mark.parametrize("check", kept.CHECKS)
def test_whatever_is_asked(check: Any, device: str) -> None:
    check("triton", device)
