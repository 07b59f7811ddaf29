"""Attention summed by key, for credit assignment. Meaning and formulas stand in `reference.attention`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rlaif_kernels import arguments
from rlaif_kernels.dispatch import Impl, choose

__all__ = ["BLOCK", "attention_column"]

BLOCK = {"cpu": 2**22, "cuda": 2**27}
"""Bytes of attention that exist at a time: what a processor's caches hold, and what keeps a GPU busy."""


def attention_column(
    query: Tensor,
    key: Tensor,
    *,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    causal: bool = True,
    window: int | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    impl: Impl = "auto",
) -> Tensor:
    """How much attention each key gets, averaged over the heads: [B,T] float32 (float64 from float64).

    query [B,N,Q,D] of the last Q positions, key [B,G,T,D], N a multiple of G, both as they enter the product. `weights`
    [B,Q] says how much each query counts; None takes the last query alone. mask [B,T] bool: which keys there are.
    The map [B,N,Q,T] is never whole: a few queries are taken at a time. What it is for: arXiv:2402.00782.

    >>> rk.attention_column(torch.zeros(1, 4, 1, 8), torch.zeros(1, 2, 4, 8))
    tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    optional = {name: one for name, one in (("weights", weights), ("mask", mask)) if one is not None}
    arguments.tensors("attention_column", query=query, key=key, **optional)
    arguments.same_device("attention_column", query, key=key, **optional)
    if query.ndim != 4 or key.ndim != 4 or query.shape[0] != key.shape[0] or query.shape[3] != key.shape[3]:
        raise ValueError(
            f"attention_column: query {arguments.shape(query)} and key {arguments.shape(key)} are not [B,N,Q,D] "
            "and [B,G,T,D]"
        )
    if key.shape[1] == 0 or query.shape[1] % key.shape[1] or query.shape[2] > key.shape[2] or query.shape[2] == 0:
        raise ValueError(
            f"attention_column: query {arguments.shape(query)} does not go with key {arguments.shape(key)}: heads must "
            "be a multiple of the key's, and the queries some of the positions"
        )
    batch, queries, keys = query.shape[0], query.shape[2], key.shape[2]
    if weights is not None and weights.shape != (batch, queries):
        raise ValueError(f"attention_column: weights is {arguments.shape(weights)}, expected {[batch, queries]}")
    if mask is not None and mask.shape != (batch, keys):
        raise ValueError(f"attention_column: mask is {arguments.shape(mask)}, expected {[batch, keys]}")
    arguments.flags("attention_column", mask=mask)
    if window is not None:
        arguments.number("attention_column", "window", window, least=1)
    if softcap is not None:
        arguments.number("attention_column", "softcap", softcap, least=0, above=True)
    if scale is not None:
        arguments.number("attention_column", "scale", scale, least=-math.inf)
    options: dict[str, Any] = {"causal": causal, "window": window, "scale": scale, "softcap": softcap}
    run = choose("attention_column", impl, (query, key, weights, mask), {"native": _unfit(query, key, weights)})
    if weights is None:
        return run(query[:, :, -1:], key, mask=mask, **options)  # type: ignore[no-any-return]
    room = BLOCK.get(query.device.type, BLOCK["cuda"])
    many = max(room // (4 * max(query.shape[1] * keys, 1)), 1)  # queries of any samples at a time
    at_once = min(many, queries) if causal or window is None else queries
    columns = []
    for samples in _pieces(batch, many // at_once):
        total: Any = 0.0
        for places in _pieces(queries, at_once):
            # These queries are the last of the positions that they see.
            stop = keys - queries + places.stop if causal else keys
            begin = max(stop - at_once - window + 1, 0) if causal and window else 0
            seen = slice(begin, stop)
            there = mask if mask is None else mask[samples, seen]
            some = query[samples, :, places], key[samples, :, seen]
            part = run(*some, weights=weights[samples, places], mask=there, **options)
            total = total + functional.pad(part, (begin, keys - stop))
        columns.append(total)
    return torch.cat(columns)


def _pieces(count: int, many: int) -> Iterator[slice]:
    """`many` at a time."""
    for start in range(0, max(count, 1), max(many, 1)):
        yield slice(start, min(start + many, count))


def _unfit(query: Tensor, key: Tensor, weights: Tensor | None) -> str | None:
    """Why the compiled implementation cannot take these."""
    given = [one for one in (query, key, weights) if one is not None]
    if any(one.dtype == torch.float64 for one in given):
        return "computes in float32 and got " + ", ".join(sorted({str(one.dtype) for one in given}))
    return None
