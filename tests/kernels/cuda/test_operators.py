"""The CUDA kernels under torch.compile, on the emulator: they stand in the graph, and not their definitions."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import compiling

pytestmark = [pytest.mark.usefixtures("emulator"), pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("name", compiling.EVERYWHERE)
def test_operators_are_registered_as_torch_wants_it(name: str) -> None:
    compiling.registered_as_torch_wants_it(name, "cuda")


@pytest.mark.slow
@pytest.mark.parametrize("impl", ["auto", "cuda"])
@pytest.mark.parametrize(
    "name", [*compiling.EVERYWHERE, "lambda_returns", "linear_policy_loss", "a temperature a token"]
)
def test_one_graph_has_the_same_numbers(name: str, impl: str, emulator: Any) -> None:
    compiling.one_graph_has_the_same_numbers(name, impl)
    emulator.reset()
    compiled = torch.compile(compiling.CALLS[name], fullgraph=True, backend="aot_eager")
    compiling.both_ways(compiled, torch.randn(6, 40), impl)
    assert emulator.launches() > 0
