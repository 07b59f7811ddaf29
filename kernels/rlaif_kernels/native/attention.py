"""`reference.attention_column` in C++: what turns scores into columns reads them once, and keeps nothing of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import reference
from rlaif_kernels.native import address, binary
from rlaif_kernels.native.differentiable import differentiable
from rlaif_kernels.reference.numbers import exact

__all__ = ["attention_column"]

MANY = 4
"""Samples from which on each is work for one thread."""

variant = ""
"""One of `binary.variants()`, by default the first: tests try them all."""


def attention_column(
    query: Tensor, key: Tensor, *, weights: Tensor | None = None, mask: Tensor | None = None, **options: Any
) -> Tensor:
    run, definition = partial(_columns, **options), partial(_definition, **options)
    return differentiable(run, definition, query, key, weights, mask)


def _definition(query: Tensor, key: Tensor, weights: Tensor | None, mask: Tensor | None, **options: Any) -> Tensor:
    return reference.attention_column(query, key, weights=weights, mask=mask, **options)


def _columns(
    query: Tensor,
    key: Tensor,
    weights: Tensor | None,
    mask: Tensor | None,
    *,
    causal: bool,
    window: int | None,
    scale: float | None,
    softcap: float | None,
) -> Tensor:
    batch, heads, queries, width = query.shape
    groups, keys = key.shape[1], key.shape[2]
    # The heads of a group are more queries of its keys. torch multiplies: nothing here would be faster.
    many = query.detach().float().reshape(batch * groups, heads // groups * queries, width)
    with exact(query):
        scores = many @ key.detach().float().reshape(batch * groups, keys, width).mT
    # With few samples the heads are what is shared out to threads. Sums must not depend on how many threads there are.
    columns = scores.new_zeros(batch, 1 if batch >= MANY else heads, keys)
    there = None if mask is None else mask.contiguous()
    share = None if weights is None else weights.detach().float().contiguous()
    binary.attention_add(
        *(scores.data_ptr(), batch, heads, queries, keys, address(there), address(share)),
        *(width**-0.5 if scale is None else scale, softcap or 0.0, causal, window or 0),
        *(columns.shape[1], columns.data_ptr(), torch.get_num_threads(), variant),
    )
    return columns.sum(1) if columns.shape[1] > 1 else columns[:, 0]
