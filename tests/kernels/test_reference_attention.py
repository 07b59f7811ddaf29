"""Attention by key, against maps formed head by head and query by query."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_kernels import attention

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
                    out[b, t] += weights[b, i] * math.exp(each) / total / heads
    return out


@pytest.mark.parametrize("impl", rk.implementations("attention_column"))
@pytest.mark.parametrize("case", CASES)
def test_attention_is_that_of_the_map(case: str, impl: str) -> None:
    query, key = torch.randn(2, 4, 3, 8, dtype=torch.float64), torch.randn(2, 2, 6, 8, dtype=torch.float64)
    weights, mask = torch.randn(2, 3, dtype=torch.float64), torch.rand(2, 6) < 0.7
    options = CASES[case]
    found = rk.attention_column(query, key, weights=weights, mask=mask, impl=impl, **options)
    torch.testing.assert_close(found, by_hand(query, key, weights, mask, **options))
    last = rk.attention_column(query, key, mask=mask, impl=impl, **options)
    only = torch.tensor([[0.0, 0.0, 1.0]]).expand(2, 3)
    torch.testing.assert_close(last, by_hand(query, key, only, mask, **options))


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
def test_gradients_are_those_of_the_map(impl: str) -> None:
    query = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    key = torch.randn(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(1, 3, dtype=torch.float64, requires_grad=True)

    def run(query: Tensor, key: Tensor, weights: Tensor) -> Tensor:
        return rk.attention_column(query, key, weights=weights, softcap=2.0, impl=impl)

    assert torch.autograd.gradcheck(run, (query, key, weights))


@pytest.mark.parametrize("case", CASES)
def test_queries_in_blocks_are_queries_all_at_once(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    query, key = torch.randn(2, 4, 7, 8), torch.randn(2, 2, 11, 8)
    weights, mask = torch.randn(2, 7), torch.rand(2, 11) < 0.8
    whole = rk.attention_column(query, key, weights=weights, mask=mask, **CASES[case])
    monkeypatch.setattr(attention, "BLOCK", 4 * 2 * 4 * 11 * 3)  # three queries
    cut = rk.attention_column(query, key, weights=weights, mask=mask, **CASES[case])
    torch.testing.assert_close(cut, whole)
