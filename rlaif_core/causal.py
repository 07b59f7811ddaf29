"""Calling a causal language model of transformers, whichever it is: padding, positions, cache, logits to compute.

Architectures differ in what their `forward` takes and what their cache holds; here they are asked, and nowhere else.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Cache layers that only append: gradients pass through them, and a sequence may go on in pieces of any length.
APPENDING = frozenset({"DynamicLayer", "DynamicSlidingWindowLayer"})


class CausalModel:
    """A transformers module behind one signature. `shares_prefixes`: whether its cache may be read again by others."""

    def __init__(self, module: Any) -> None:
        self.module = module
        inner = module.get_base_model() if hasattr(module, "get_base_model") else module
        self._takes = frozenset(inspect.signature(inner.forward).parameters)
        self._cache = "past_key_values" if "past_key_values" in self._takes else "cache_params"
        self.shares_prefixes = self._cache == "past_key_values"

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.module.parameters()).device
        return device

    def __call__(
        self, tokens: Tensor, attend: Tensor, *, keep: int, cache: Any = None, caching: bool = False
    ) -> tuple[Tensor, Any]:
        """(logits [B, keep, V] at the last `keep` positions, the cache or None).

        tokens [B,T] follow what the cache holds; attend [B, past + T] bool tells of both. Positions count attended
        tokens, so padding on either side changes nothing.
        """
        given: dict[str, Any] = {}
        if "position_ids" in self._takes:
            given["position_ids"] = (attend.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        if "logits_to_keep" in self._takes:
            given["logits_to_keep"] = keep
        if cache is not None:
            given[self._cache] = cache
        # A state-space model's state has dealt with the padding already.
        padded = not (cache is not None and self._cache == "cache_params") and not bool(attend.all())
        output = self.module(input_ids=tokens, attention_mask=attend if padded else None, use_cache=caching, **given)
        if caching:
            cache = getattr(output, self._cache)
            kinds = {type(layer).__name__ for layer in getattr(cache, "layers", [cache])}
            self.shares_prefixes = self.shares_prefixes and kinds <= APPENDING
        return output.logits[:, -keep:], cache


def left_padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(tokens [B,T] int64, attend [B,T] bool), the rows flush right."""
    width = max(map(len, rows))
    tokens = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=device)
    attend = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows], device=device)
    return tokens, attend
