"""The Triton kernels under torch.compile, in the interpreter: they stand in the graph."""

from __future__ import annotations

import pytest

import compiling
from rlaif_kernels.triton import interpreted

if not interpreted:
    pytest.skip("the problems lie in the CPU's memory", allow_module_level=True)

from rlaif_kernels.triton import linear, logprobs, scans

pytestmark = [pytest.mark.usefixtures("device"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes its time for what is masked as well."""
    small = [(logprobs, "BLOCK", 16), (logprobs, "SEGMENT", 32), (scans, "BLOCK", 8), (linear, "SEGMENT", 32)]
    for module, name, size in [*small, (linear, "RAGGED", linear.Tiles(4, 16, 16, 4, 2))]:
        monkeypatch.setattr(module, name, size)


@pytest.mark.parametrize("name", [name for name in compiling.EVERYWHERE if name != "linear_policy_loss"])
def test_operators_are_registered_as_torch_wants_it(name: str) -> None:
    compiling.registered_as_torch_wants_it(name, "triton")


@pytest.mark.parametrize("name", compiling.EVERYWHERE)
def test_one_graph_has_the_same_numbers(name: str) -> None:
    compiling.one_graph_has_the_same_numbers(name, "triton")
