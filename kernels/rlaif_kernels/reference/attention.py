"""How much attention falls on each key, for credit assignment: a column of the attention map, without its other use."""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif_kernels.reference.numbers import accumulation, exact

__all__ = ["attention_column"]


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
) -> Tensor:
    """[B,T]: sum over queries i of weights[i] times the attention that i pays to each key, averaged over the heads.

    query [B,N,Q,D], key [B,G,T,D] with N a multiple of G (grouped queries), as they enter the product (rotated).
    weights [B,Q]; None takes the last query alone, whose attention is what reward redistribution reads
    (arXiv:2402.00782). mask [B,T]: which keys there are. The queries are the last Q of the T positions; with `causal`
    none looks ahead, with `window` none further back than window - 1 positions. z = cap(scale * q k), scale 1 / sqrt(D)
    by default. A query that sees no key pays no attention. The whole map is formed here. Differentiable. What stands at
    keys that `mask` leaves out, or is not finite in a query of weight 0, reaches neither result nor gradients.
    """
    dtype = accumulation(query, key)
    if mask is not None:
        key = key.masked_fill(~mask[:, None, :, None], 0.0)
    if weights is not None:
        query = query.masked_fill((weights == 0)[:, None, :, None] & ~query.isfinite(), 0.0)
    batch, heads, queries, width = query.shape
    groups, keys = key.shape[1], key.shape[2]
    many, keyed = query.to(dtype).view(batch, groups, heads // groups, queries, width), key.to(dtype)
    if mask is not None:  # here as well as below, for the gradient of the queries multiplies with all keys
        keyed = keyed.masked_fill(~mask[:, None, :, None], 0.0)
    with exact(query):
        z = torch.einsum("bghqd,bgtd->bghqt", many, keyed) * (width**-0.5 if scale is None else scale)
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    place = torch.arange(keys, device=key.device)
    at = torch.arange(keys - queries, keys, device=key.device)[:, None]
    seen = torch.ones(queries, keys, dtype=torch.bool, device=key.device)
    if causal:
        seen = place <= at
    if window is not None:
        seen = seen & (place > at - window)
    seen = seen if mask is None else seen & mask[:, None, None, None]
    z = z.masked_fill(~seen, -torch.inf)
    top = z.detach().amax(-1, keepdim=True)
    power = (z - top.masked_fill(top == -torch.inf, 0.0)).exp()
    attention = power / power.sum(-1, keepdim=True).clamp(min=torch.finfo(dtype).tiny)
    per_query = attention.mean((1, 2))
    if weights is None:
        return per_query[:, -1]
    with exact(query):
        return torch.einsum("bq,bqt->bt", weights.to(dtype), per_query)
