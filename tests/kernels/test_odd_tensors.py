"""Tensors that are not numbers one after the other in memory: an answer or an error that says so, never a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import here
import operations
import rlaif_kernels as rk
from rlaif_kernels import gpu, native


def freed(x: Tensor) -> Tensor:
    """As sharded parameters are while nobody computes with them."""
    x = x.clone()
    x.untyped_storage().resize_(0)
    return x


def nothing(x: Tensor) -> Tensor:
    zeros: Tensor = torch._efficientzerotensor(x.shape, dtype=x.dtype)  # as autograd makes them
    return zeros


ODD: dict[str, Callable[[Tensor], Tensor]] = {
    "zeros without memory": nothing,
    "freed": freed,
    "quantized": lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.qint8),
    "sparse": lambda x: x.to_sparse(),
    "compressed": lambda x: x.to_sparse_csr(),
    "mkldnn": lambda x: x.float().to_mkldnn(),
    "meta": lambda x: x.to("meta"),
    "nested": lambda x: torch.nested.nested_tensor(list(x)),
    "jagged": lambda x: torch.nested.nested_tensor(list(x), layout=torch.jagged),
    "fake": lambda x: FakeTensorMode().from_tensor(x),
}


def leaves_of(given: dict[str, Any]) -> set[str]:
    return {name for name in operations.LEAVES & given.keys() if isinstance(given[name], Tensor)}


LOCAL = [name for name in operations.PROBLEMS if name != "sharded_logprobs"]  # which exchanges before it computes


@pytest.mark.filterwarnings("ignore")  # torch's own, of prototypes
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", LOCAL)
def test_odd_tensors_are_taken_or_refused(name: str, kind: str) -> None:
    problem = operations.PROBLEMS[name]()
    for argument in [k for k, x in problem.items() if isinstance(x, Tensor)]:
        try:
            odd = ODD[kind](problem[argument])
        except (RuntimeError, ValueError, IndexError):
            continue  # there is none of this shape or dtype
        for impl in ["auto", *here.implementations(name)]:
            for grad in (False, True):
                given = {**problem, argument: odd}
                for leaf in leaves_of(problem) - {argument}:
                    given[leaf] = problem[leaf].clone().requires_grad_(grad)
                refused(name, impl, kind, given, {**given, argument: torch.zeros_like(problem[argument])})


def refused(name: str, impl: Any, kind: str, given: dict[str, Any], zeros: dict[str, Any]) -> None:
    if kind == "zeros without memory" and impl != "native":
        said, wanted = getattr(rk, name)(**given, impl=impl), getattr(rk, name)(**zeros, impl="torch")
        torch.testing.assert_close(said, wanted, equal_nan=True)  # whose temperature is 0
        return
    # Of the last torch speaks, which looks at each number that it is asked for.
    speaks = {"fake": r"FakeTensor|^aten\."}.get(kind, f"^{name}: ")
    with pytest.raises((TypeError, ValueError, RuntimeError, AssertionError), match=f"^{name}: |{speaks}"):
        getattr(rk, name)(**given, impl=impl)


@pytest.mark.parametrize("name", [name for name in LOCAL if name not in operations.DETACHED])
def test_gradients_of_zeros_without_memory_are_zeros(name: str) -> None:
    for impl in here.implementations(name):
        given = operations.PROBLEMS[name]()
        leaves = [given[leaf].requires_grad_() for leaf in leaves_of(given)]
        said = getattr(rk, name)(**given, impl=impl)
        outputs = [one for one in ([said] if isinstance(said, Tensor) else said) if one.requires_grad]
        slopes = torch.autograd.grad(outputs, leaves, list(map(nothing, outputs)))
        assert not any(bool(one.any()) for one in slopes)


@pytest.mark.native
def test_results_are_not_put_where_there_is_no_memory() -> None:
    rewards, mask = torch.randn(2, 3), torch.ones(2, 3, dtype=torch.bool)
    for odd in (freed, ODD["sparse"]):
        with pytest.raises(TypeError, match=r"^gae: takes dense tensors that have memory"):
            rk.gae(rewards, rewards, mask, out=(torch.empty(2, 3), odd(rewards)))


def test_numbers_that_are_only_negated_when_they_are_read_are_discounts_too() -> None:
    rewards, mask = torch.randn(2, 3), torch.ones(2, 3, dtype=torch.bool)
    gamma = torch.tensor([-0.9j, -0.5j], dtype=torch.complex128).conj().imag
    assert gamma.is_neg()
    wanted = rk.gae(rewards, rewards, mask, gamma=gamma.clone())
    torch.testing.assert_close(rk.gae(rewards, rewards, mask, gamma=gamma), wanted)


@pytest.mark.parametrize("kind", [kind for kind in ODD if kind != "meta"])
def test_addresses_are_taken_of_nothing_odd(kind: str) -> None:
    odd = ODD[kind](torch.ones(2, 3))
    assert native.refuses([odd]) is not None
    assert gpu.refuses([odd], "cpu") is not None
