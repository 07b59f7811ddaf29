"""Attention by key, against maps formed head by head and query by query."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
from memory import peak
from rlaif_kernels import attention, native

VARIANTS = ["torch", *(native.binary.variants() if native.missing is None else [])]
CASES: dict[str, dict[str, Any]] = {
    "causal": {},
    "whole": {"causal": False},
    "window": {"window": 3},
    "capped": {"softcap": 0.7, "scale": 1.3},
}


def by_hand(query: Tensor, key: Tensor, weights: Tensor, mask: Tensor, **options: Any) -> Tensor:
    heads, groups, queries, keys = query.shape[1], key.shape[1], query.shape[2], key.shape[2]
    scale, cap = options.get("scale", query.shape[3] ** -0.5), options.get("softcap")
    out = torch.zeros(len(query), keys, dtype=torch.float64)
    for b in range(len(query)):
        for i in range(queries):
            at = keys - queries + i
            seen = [
                t
                for t in range(keys)
                if mask[b, t]
                and (t <= at or not options.get("causal", True))
                and t > at - options.get("window", math.inf)
            ]
            for head in range(heads):
                z = [scale * float(query[b, head, i] @ key[b, head * groups // heads, t]) for t in seen]
                z = [cap * math.tanh(each / cap) for each in z] if cap else z
                total = math.fsum(map(math.exp, z))
                for t, each in zip(seen, z, strict=True):
                    out[b, t] += float(weights[b, i]) * math.exp(each) / total / heads
    return out


@pytest.mark.parametrize("variant", VARIANTS)
# Fewer keys than a vector, and two with a rest; heads added up apart, and by sample.
@pytest.mark.parametrize(("samples", "keys"), [(2, 6), (2, 37), (5, 6)])
@pytest.mark.parametrize("case", CASES)
def test_attention_is_that_of_the_map(
    case: str, samples: int, keys: int, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impl, dtype, error = "torch", torch.float64, 1e-9
    if variant != "torch":
        monkeypatch.setattr("rlaif_kernels.native.attention.variant", variant)
        impl, dtype, error = "native", torch.float32, 3e-6
    query, key = torch.randn(samples, 4, 3, 8, dtype=dtype), torch.randn(samples, 2, keys, 8, dtype=dtype)
    weights, mask = torch.randn(samples, 3, dtype=dtype), torch.rand(samples, keys) < 0.7
    options = CASES[case]
    found = rk.attention_column(query, key, weights=weights, mask=mask, impl=impl, **options)
    torch.testing.assert_close(found.double(), by_hand(query, key, weights, mask, **options), rtol=error, atol=error)
    last = rk.attention_column(query, key, mask=mask, impl=impl, **options)
    only = torch.tensor([[0.0, 0.0, 1.0]]).expand(samples, 3)
    torch.testing.assert_close(last.double(), by_hand(query, key, only, mask, **options), rtol=error, atol=error)


@pytest.mark.parametrize("impl", rk.implementations("attention_column"))
def test_a_query_pays_attention_once_or_not_at_all(impl: str) -> None:
    query, key = torch.randn(2, 4, 9, 8), torch.randn(2, 1, 9, 8)
    mask = torch.ones(2, 9, dtype=torch.bool)
    mask[1] = False
    found = rk.attention_column(query, key, weights=torch.ones(2, 9), mask=mask, impl=impl)
    torch.testing.assert_close(found.sum(1), torch.tensor([9.0, 0.0]))
    key[0, 0, 4] = math.nan
    mask[0, 4] = False
    found = rk.attention_column(query, key, mask=mask, impl=impl)
    assert found.isfinite().all()
    assert not found[~mask].any()


@pytest.mark.parametrize("impl", rk.implementations("attention_column"))
def test_what_is_masked_or_weighs_nothing_may_be_anything(impl: str) -> None:
    query, key = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 5, 4)
    weights, mask = torch.tensor([[0.5, 0.0, 1.0]]), torch.tensor([[True, False, True, True, True]])
    wanted = rk.attention_column(query, key, weights=weights, mask=mask, impl=impl)
    for bad in (math.nan, math.inf):
        query[0, :, 1], key[0, :, 1] = bad, bad
        found = rk.attention_column(query, key, weights=weights, mask=mask, impl=impl)
        assert torch.equal(found, wanted)
        leaves = query.clone().requires_grad_(), key.clone().requires_grad_()
        rk.attention_column(*leaves, weights=weights, mask=mask, impl=impl).square().sum().backward()
        assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)
    # What counts is not hidden.
    query[0, :, 2] = math.nan
    assert rk.attention_column(query, key, weights=weights, mask=mask, impl=impl)[mask].isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_multiplied_as_floats(dtype: torch.dtype) -> None:
    query, key, weights = torch.randn(2, 4, 9, 8).to(dtype), torch.randn(2, 2, 9, 8).to(dtype), torch.rand(2, 9)
    wanted = rk.attention_column(query.double(), key.double(), weights=weights)
    for impl in rk.implementations("attention_column"):
        found = rk.attention_column(query, key, weights=weights, impl=impl)
        torch.testing.assert_close(found.double(), wanted, rtol=3e-6, atol=3e-6)


@pytest.mark.parametrize("impl", rk.implementations("attention_column"))
def test_gradients_of_float32_are_those_of_float64(impl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(attention.BLOCK, "cpu", 4 * 4 * 9 * 2)  # two queries at a time
    given, slopes = [torch.randn(2, 4, 7, 8), torch.randn(2, 2, 9, 8), torch.randn(2, 7)], torch.randn(2, 9)

    def slope(dtype: torch.dtype, impl: str) -> list[Tensor]:
        query, key, weights = (one.to(dtype, copy=True).requires_grad_() for one in given)
        said = rk.attention_column(query, key, weights=weights, impl=impl)
        return list(torch.autograd.grad(said, (query, key, weights), slopes.to(dtype)))

    for found, wanted in zip(slope(torch.float32, impl), slope(torch.float64, "torch"), strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_the_map() -> None:
    query = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    key = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(1, 3, dtype=torch.float64, requires_grad=True)

    def run(query: Tensor, key: Tensor, weights: Tensor) -> Tensor:
        return rk.attention_column(query, key, weights=weights, softcap=2.0)

    assert torch.autograd.gradcheck(run, (query, key, weights))


@pytest.mark.parametrize("queries", [3, 20])  # some of a sample's; those of two of the three samples
@pytest.mark.parametrize("case", CASES)
def test_queries_in_blocks_are_queries_all_at_once(case: str, queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    query, key = torch.randn(3, 4, 7, 8), torch.randn(3, 2, 11, 8)
    weights, mask = torch.randn(3, 7), torch.rand(3, 11) < 0.8
    whole = rk.attention_column(query, key, weights=weights, mask=mask, **CASES[case])
    monkeypatch.setitem(attention.BLOCK, "cpu", 4 * 4 * 11 * queries)
    cut = rk.attention_column(query, key, weights=weights, mask=mask, **CASES[case])
    torch.testing.assert_close(cut, whole)


def test_the_map_is_never_whole() -> None:
    query, key, weights = torch.randn(1, 8, 2048, 16), torch.randn(1, 8, 2048, 16), torch.rand(1, 2048)
    for impl in rk.implementations("attention_column"):
        assert peak(lambda impl=impl: rk.attention_column(query, key, weights=weights, impl=impl)) < 8 * 2048**2 * 4 / 4


def test_no_samples_are_an_empty_column() -> None:
    found = rk.attention_column(torch.randn(0, 2, 3, 4), torch.randn(0, 2, 5, 4), weights=torch.rand(0, 3))
    assert found.shape == (0, 5)
