"""Log-probs over what a sampler kept, in CUDA against the definition in float64, on the emulator."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import kept

pytestmark = pytest.mark.usefixtures("emulator")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", kept.SHAPES, ids=str)
@pytest.mark.parametrize("case", kept.OPTIONS)
def test_values_and_gradients_are_those_of_float64(
    case: str, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    kept.agree("cuda", shape, dtype, "cpu", **kept.OPTIONS[case])


@pytest.mark.parametrize("check", kept.CHECKS)
def test_whatever_is_asked(check: Any) -> None:
    check("cuda", "cpu")


def test_the_order_of_threads_and_blocks_changes_no_bit(emulator: Any) -> None:
    x = kept.problem(7, 64, 33, 9, torch.bfloat16, "cpu")
    forth = kept.both_ways(x, "cuda")
    emulator.turn_round(True)
    assert all(map(torch.equal, forth, kept.both_ways(x, "cuda")))
