"""The kernels under torch.compile: in one graph, with the same numbers, and registered as torch wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import compiling
import rlaif_kernels as rk
from rlaif_kernels import head

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


ROWS, VOCABULARY = 7, 51


@pytest.mark.native
@pytest.mark.parametrize("loss", [False, True])
def test_a_graph_never_holds_all_logits(loss: bool) -> None:
    torch._dynamo.reset()
    held: list[torch.Size] = []

    def look(graph: Any, _: Any) -> Callable[..., Any]:
        made = [node.meta.get("example_value") for node in graph.graph.nodes]
        held.extend(one.shape for one in made if isinstance(one, Tensor))
        return graph.forward  # type: ignore[no-any-return]

    def call(hidden: Tensor, weight: Tensor) -> Tensor:
        targets, zeros = torch.arange(ROWS), torch.zeros(1, ROWS)
        if not loss:
            return rk.linear_logprobs(hidden, weight, targets)
        return rk.linear_policy_loss(hidden[None], weight, targets[None], zeros, zeros + 1, zeros == 0).loss

    compiled = torch.compile(call, fullgraph=True, backend=look)
    given = torch.randn(ROWS, 8), torch.randn(VOCABULARY, 8)
    torch.testing.assert_close(compiled(*given), call(*given))
    assert torch.Size([VOCABULARY, 8]) in held
    assert not [shape for shape in held if shape.numel() >= ROWS * VOCABULARY and shape[-1] != 8]


@pytest.mark.native
def test_a_policy_loss_in_a_graph_takes_three_products(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    made: list[str] = []
    for name in ("product", "add"):
        real = getattr(head.dense, name)
        monkeypatch.setattr(head.dense, name, lambda *given, name=name, real=real: (made.append(name), real(*given))[1])
    numbers, mask = torch.zeros(1, ROWS), torch.ones(1, ROWS, dtype=torch.bool)

    @torch.compile(fullgraph=True, backend="aot_eager")
    def loss(hidden: Tensor, weight: Tensor) -> Tensor:
        targets = torch.arange(ROWS)[None]
        return rk.linear_policy_loss(hidden[None], weight, targets, numbers, numbers + 1, mask, low=1, high=99).loss * 2

    hidden, weight = torch.randn(ROWS, 8, requires_grad=True), torch.randn(VOCABULARY, 8, requires_grad=True)
    loss(hidden, weight).backward()
    assert made == ["product", "add", "add"]
    made.clear()
    loss(hidden, weight.detach()).backward()
    assert made == ["product", "add"]
    made.clear()
    with torch.no_grad():
        loss(hidden, weight)
    assert made == ["product"]


@pytest.mark.native
@pytest.mark.parametrize("name", ["token_logprobs", "linear_logprobs", "linear_policy_loss"])
def test_a_graph_names_a_target_outside_the_vocabulary(name: str) -> None:
    torch._dynamo.reset()
    graph = torch.compile(compiling.CALLS[name], backend="eager", fullgraph=True)
    astray = compiling.TARGETS.clone()
    x = torch.randn(6, 40)
    graph(x, "auto")
    try:
        compiling.TARGETS[3] = 40
        with pytest.raises(IndexError, match=rf"^{name}: targets\[3\] is 40, not in a vocabulary of 40; "):
            graph(x, "auto")
    finally:
        compiling.TARGETS.copy_(astray)
