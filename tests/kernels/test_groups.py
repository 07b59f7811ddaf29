"""Numbers of a group less its mean and over its spread, against each group taken by itself."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest
import torch
from torch import Tensor

import kept
import rlaif_kernels as rk

IMPLEMENTATIONS = rk.implementations("group_normalise")
OPTIONS: dict[str, dict[str, Any]] = {
    "population": {},
    "sample": {"unbiased": True},
    "no division": {"scale": "none"},
}


def by_hand(x: Tensor, group: Tensor, mask: Tensor, *, unbiased: bool = False, scale: str = "std") -> Tensor:
    out = torch.zeros(len(x), dtype=torch.float64)
    for name in set(group.tolist()):
        places = [at for at in range(len(x)) if group[at] == name and mask[at]]
        numbers = [float(x[at]) for at in places]
        if len(set(numbers)) < 2:
            continue
        deviation = statistics.stdev if unbiased else statistics.pstdev
        for at in places:
            out[at] = (float(x[at]) - math.fsum(numbers) / len(numbers)) / (deviation(numbers) if scale == "std" else 1)
    return out


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_groups_lie_in_any_order_and_have_any_size(options: dict[str, Any], dtype: torch.dtype, impl: str) -> None:
    x, mask = (5 + torch.randn(97)).to(dtype), torch.rand(97) < 0.8
    group = torch.tensor([-7, 2**40, 3, 11, 0])[torch.randint(5, (97,))]
    group[5] = 99  # alone
    wanted = by_hand(x, group, mask, **options)
    x[~mask] = math.nan
    found = rk.group_normalise(x, group, mask, **options, impl=impl)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=2e-5, atol=2e-6)
    order = torch.randperm(97)
    moved = rk.group_normalise(x[order], group[order], mask[order], **options, impl=impl)
    torch.testing.assert_close(moved, found[order])


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_what_differs_by_rounding_alone_is_exactly_0(impl: str) -> None:
    x = torch.tensor([0.1, 0.1, 0.1, 1e6, 1e6 + 0.0625, 3.0, 0.0, 0.0])
    group, mask = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3]), torch.ones(8, dtype=torch.bool)
    assert not rk.group_normalise(x, group, mask, impl=impl).any()
    assert rk.group_normalise(x, group, mask, noise=0.0, impl=impl)[3:5].tolist() == [-1, 1]
    empty = rk.group_normalise(x[:0], group[:0], mask[:0], impl=impl)
    assert empty.shape == (0,)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_nan_that_counts_is_seen_in_its_group_alone(impl: str) -> None:
    x = torch.tensor([1.0, math.nan, 2.0, 3.0])
    found = rk.group_normalise(x, torch.tensor([0, 0, 1, 1]), torch.ones(4, dtype=torch.bool), impl=impl)
    assert found[:2].isnan().all()
    torch.testing.assert_close(found[2:], torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_gradients_are_those_of_float64(impl: str) -> None:
    x = torch.randn(6, dtype=torch.float64, requires_grad=True)
    group, mask, slopes = torch.tensor([0, 1, 0, 1, 0, 1]), torch.tensor([True] * 5 + [False]), torch.randn(6)

    def run(x: Tensor) -> Tensor:
        return rk.group_normalise(x, group, mask)

    assert torch.autograd.gradcheck(run, x)
    leaf = x.detach().float().requires_grad_()
    (found,) = torch.autograd.grad(rk.group_normalise(leaf, group, mask, impl=impl), leaf, slopes, create_graph=True)
    (wanted,) = torch.autograd.grad(run(x), x, slopes.double(), create_graph=True)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    twice, exact = torch.autograd.grad(found.square().sum(), leaf)[0], torch.autograd.grad(wanted.square().sum(), x)[0]
    torch.testing.assert_close(twice.double(), exact, rtol=1e-4, atol=1e-4)


def test_the_definition_waits_for_nothing_but_the_number_of_groups() -> None:
    x, group, mask = torch.randn(9), torch.arange(9) % 4, torch.ones(9, dtype=torch.bool)
    with kept.Impatient():
        rk.group_normalise(x, group, mask, impl="torch")
