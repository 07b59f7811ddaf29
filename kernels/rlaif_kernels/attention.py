"""Attention summed by key, for credit assignment. Meaning and formulas stand in `reference.attention`."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from torch.nn import functional

from rlaif_kernels import arguments
from rlaif_kernels.dispatch import Impl, choose

__all__ = ["BLOCK", "attention_column"]

BLOCK = 2**25
"""Bytes of attention that exist at a time, where nothing is to be differentiated: 32 MiB."""


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
    run = choose("attention_column", impl, (query, key, weights, mask))
    if weights is None:
        return run(query[:, :, -1:], key, mask=mask, **options)  # type: ignore[no-any-return]
    many = max(BLOCK // 4 // max(batch * query.shape[1] * keys, 1), 1)
    if queries <= many or not (causal or window is None):
        return run(query, key, weights=weights, mask=mask, **options)  # type: ignore[no-any-return]
    total = None
    for start in range(0, queries, many):
        stop = min(start + many, queries)
        seen = keys - queries + stop if causal else keys  # these queries are the last of the positions that they see
        there = mask if mask is None else mask[:, :seen]
        part = run(query[:, :, start:stop], key[:, :, :seen], weights=weights[:, start:stop], mask=there, **options)
        part = functional.pad(part, (0, keys - seen))
        total = part if total is None else total + part
    assert total is not None
    return total
