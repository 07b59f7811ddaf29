"""The CUDA kernels under torch.compile, on the emulator: they stand in the graph, and not their definitions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import compiling
import rlaif_kernels as rk
from rlaif_kernels import chunked

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


def test_what_is_not_asked_stays_out_of_a_graph_that_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with mode="reduce-overhead": rows cannot be left out, and what stands in them reaches no gradient."""
    monkeypatch.setattr(chunked, "capturing", lambda _: True)
    hidden, weight, targets = torch.randn(6, 8), torch.randn(40, 8, requires_grad=True), compiling.TARGETS

    @torch.compile(fullgraph=True, backend="aot_eager")
    def run(hidden: torch.Tensor) -> torch.Tensor:
        return rk.linear_logprobs(hidden, weight, targets, impl="cuda").sum()

    holes = hidden.masked_fill((targets < 0)[:, None], math.nan)
    wanted, found = (torch.autograd.grad(run(its), weight) for its in (hidden, holes))
    torch.testing.assert_close(found, wanted)
