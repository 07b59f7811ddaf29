"""The kernels under torch.compile: in one graph, with the same numbers, and registered as torch wants it."""

from __future__ import annotations

import pytest

import compiling

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, of its compiler


@pytest.mark.native
@pytest.mark.parametrize("name", compiling.OPERATORS)
def test_operators_are_registered_as_torch_wants_it(name: str) -> None:
    compiling.registered_as_torch_wants_it(name, "native")


@pytest.mark.slow
@pytest.mark.parametrize("impl", ["auto", "torch"])
@pytest.mark.parametrize("name", compiling.CALLS)
def test_one_graph_has_the_same_numbers(name: str, impl: str) -> None:
    compiling.one_graph_has_the_same_numbers(name, impl)
