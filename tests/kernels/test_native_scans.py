"""The compiled kernels against the definitions, and what they refuse to be handed."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import Tensor

from rlaif_kernels import native, reference

pytestmark = pytest.mark.native

if native.missing is None:
    from rlaif_kernels.native import scans

# The binary keeps its running sums in float64, so what is left is the float32 reference's own rounding.
BUDGET = {torch.float32: {"rtol": 1e-4, "atol": 1e-5}, torch.float64: {"rtol": 1e-12, "atol": 1e-12}}


def problem(rows: int, steps: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Random rows with holes; NaN in every slot that nothing may read."""
    mask, dones = torch.rand(rows, steps) < 0.8, torch.rand(rows, steps) < 0.05
    rewards, values = (torch.randn(rows, steps, dtype=dtype).masked_fill(~mask, math.nan) for _ in range(2))
    ends = dones | (mask & (mask.flip(1).cumsum(1).flip(1) == 1))
    after = torch.randn(rows, steps, dtype=dtype).masked_fill(~(ends & mask), math.nan)
    return {"rewards": rewards, "values": values, "mask": mask, "dones": dones, "next_values": after}


@pytest.mark.parametrize("dtype", list(BUDGET), ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (8, 256), (0, 5), (5, 0)], ids=str)
@pytest.mark.parametrize("given", [(), ("dones",), ("next_values",), ("dones", "next_values")], ids="+".join)
def test_gae_agrees_with_the_definition(shape: tuple[int, int], dtype: torch.dtype, given: tuple[str, ...]) -> None:
    x = problem(*shape, dtype)
    if "dones" not in given:
        x["next_values"] = torch.randn(shape, dtype=dtype)
    options = {name: x[name] for name in given}
    args = x["rewards"], x["values"], x["mask"]
    for got, wanted in zip(
        scans.gae(*args, gamma=0.97, lam=0.9, **options),
        reference.gae(*args, gamma=0.97, lam=0.9, **options),
        strict=True,
    ):
        assert got.dtype == dtype
        torch.testing.assert_close(got, wanted, **BUDGET[dtype])


def test_gae_is_closer_to_float64_than_a_float32_recursion() -> None:
    rewards, values = torch.randn(2, 4, 4096)
    mask = torch.ones(4, 4096, dtype=torch.bool)
    exact = reference.gae(rewards.double(), values.double(), mask, gamma=1.0, lam=1.0)[0]
    error = (scans.gae(rewards, values, mask, gamma=1.0, lam=1.0)[0] - exact).abs().max()
    plain = (reference.gae(rewards, values, mask, gamma=1.0, lam=1.0)[0] - exact).abs().max()
    assert error < plain


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_gae_widens_half_precision(dtype: torch.dtype) -> None:
    x = problem(4, 32, dtype)
    got, wanted = scans.gae(**x)[0], reference.gae(**x)[0]
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, wanted, **BUDGET[torch.float32])


def test_gae_reads_views_in_their_own_order() -> None:
    x = {name: tensor.t().contiguous().t() for name, tensor in problem(6, 9, torch.float64).items()}
    assert not x["rewards"].is_contiguous()
    torch.testing.assert_close(scans.gae(**x), reference.gae(**x))


def test_gae_leaves_its_inputs_alone() -> None:
    x = problem(3, 11, torch.float32)
    before = {name: tensor.clone() for name, tensor in x.items()}
    scans.gae(**x)
    for name, tensor in x.items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


def test_gae_is_detached() -> None:
    values = torch.zeros(1, 2, requires_grad=True)
    advantages, returns = scans.gae(torch.ones(1, 2), values, torch.ones(1, 2, dtype=torch.bool))
    assert not advantages.requires_grad
    assert not returns.requires_grad


class Wrapped(Tensor):
    """A subclass whose data need not be where its address says."""


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.empty(1, device="meta"), "got a tensor on meta"),
        (torch.zeros(2, 2).to_sparse(), "needs dense tensors"),
        (torch.zeros(2, dtype=torch.complex64).conj().imag, "needs dense tensors"),
        (torch.zeros(1).as_subclass(Wrapped), "got Wrapped"),
    ],
    ids=["device", "sparse", "negated", "subclass"],
)
def test_what_has_no_plain_address_is_refused(tensor: Tensor, reason: str) -> None:
    assert reason in (native.refuses([tensor]) or "")


def test_plain_tensors_and_what_was_left_out_are_accepted() -> None:
    assert native.refuses([torch.zeros(1), torch.nn.Parameter(torch.zeros(1)), None]) is None


def test_the_binary_says_how_it_was_built() -> None:
    info = native.build_info()
    assert set(info) == {"compiler", "standard", "build", "pybind11", "target", "instructions", "threads"}
    assert info["instructions"] == native.binary.variants()[0]
    assert info["build"] == "Release"
    if sys.platform == "linux":  # where torch brings along an OpenMP that answers to GCC's names
        assert info["threads"] == "torch's threads"
        assert native.binary.members(2) == 2
    assert all(info.values())
