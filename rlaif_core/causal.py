"""Calling a causal language model of transformers, whichever it is: padding, positions, cache, logits to compute.

Architectures differ in what their `forward` takes and what their cache holds; here they are asked, and nowhere else.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from rlaif_core.errors import ConfigError
from rlaif_kernels.dense import Dense, packed
from rlaif_kernels.dispatch import plain
from rlaif_kernels.llama import Anatomy, LlamaDecoder, UnsuitedError, anatomy

# Cache layers that only append: gradients pass through them, and a sequence may go on in pieces of any length.
APPENDING = frozenset({"DynamicLayer", "DynamicSlidingWindowLayer"})
# Those of transformers' classes that put the parts of `rlaif_kernels.llama` together as it does at any position: others
# look alike and scale their queries beyond some length, say, which no short example shows.
FAMILY = frozenset({"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"})
# What `forward` calls its cache: everything since transformers 5.24; attention, and state-space models, before.
CACHES = ("cache", "past_key_values", "cache_params")
CLOSE = 1e-4  # how far, as a share of the largest logit, two ways to the same logits may come out apart


class Head(NamedTuple):
    """How a model makes logits of its last hidden state: softcap * tanh(u / softcap), u = scale * (W h + bias)."""

    weight: Tensor
    bias: Tensor | None
    scale: float
    softcap: float | None

    @classmethod
    def of(cls, module: Any) -> Head | None:
        """What the module's configuration says; None where its output layer is no plain linear one."""
        layer, config = module.get_output_embeddings(), module.config.get_text_config()
        if type(layer) not in (torch.nn.Linear, Dense) or layer._forward_hooks:  # noqa: SLF001  no public question
            return None
        scale = getattr(config, "logit_scale", None) or getattr(config, "lm_head_multiplier", None) or 1.0
        scale /= getattr(config, "logits_scaling", None) or 1.0
        return cls(layer.weight, layer.bias, scale, getattr(config, "final_logit_softcapping", None))

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., H] -> [..., V]"""
        z = self.scale * torch.nn.functional.linear(hidden, self.weight, self.bias)
        return z if self.softcap is None else self.softcap * torch.tanh(z / self.softcap)


class Continuation(Protocol):
    """N sequences that grow by a token at a time."""

    def __call__(self, tokens: Tensor) -> Tensor:
        """The next token of each [N] -> the logits of the one after it [N,V]."""

    def keep(self, rows: Tensor) -> None:
        """Go on with some of them alone: their numbers, in rising order."""


class CausalModel:
    """A transformers module behind one signature. `shares_prefixes`: whether its cache may be read again by others."""

    def __init__(self, module: Any) -> None:
        self.module = module
        inner = module.get_base_model() if hasattr(module, "get_base_model") else module
        self._takes = frozenset(inspect.signature(inner.forward).parameters)
        self._cache = next((name for name in CACHES if name in self._takes), None)
        self.shares_prefixes = self._cache != "cache_params"

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
        if caching and self._cache is None:  # it might take one under another name, and begin anew at every token
            kind = type(self.module).__name__
            raise ConfigError(f"{kind}.forward takes no cache, as one of {', '.join(CACHES)}; it cannot go on from one")
        if "position_ids" in self._takes:
            given["position_ids"] = (attend.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        if "logits_to_keep" in self._takes:
            given["logits_to_keep"] = keep
        if cache is not None and self._cache is not None:
            given[self._cache] = cache
        # A state-space model's state has dealt with the padding already.
        padded = not (cache is not None and self._is_state(cache)) and not bool(attend.all())
        output = self.module(input_ids=tokens, attention_mask=attend if padded else None, use_cache=caching, **given)
        if caching and self._cache is not None:
            cache = getattr(output, self._cache)
            self.shares_prefixes = self.shares_prefixes and _kinds(cache) <= APPENDING
        return output.logits[:, -keep:], cache

    def _is_state(self, cache: Any) -> bool:
        """Whether it holds what a state-space model has made of the past, and nothing of the past itself."""
        return self._cache == "cache_params" or all(kind.startswith("LinearAttention") for kind in _kinds(cache))

    def states(
        self, tokens: Tensor, attend: Tensor, *, keep: int, cache: Any = None, caching: bool = False
    ) -> tuple[Tensor, Any]:
        """As a call, with the last hidden states [B, keep, H] in the place of logits, which are not computed."""
        seen: list[Tensor] = []

        def take(_: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            seen.append(inputs[0])
            return inputs[0][:, :0], *inputs[1:]

        hook = self.module.get_output_embeddings().register_forward_pre_hook(take)
        try:
            cache = self(tokens, attend, keep=keep, cache=cache, caching=caching)[1]
        finally:
            hook.remove()
        return seen[-1][:, -keep:], cache

    @cached_property
    def head(self) -> Head | None:
        """How logits come of hidden states, where a short example agrees that it is so; None otherwise."""
        its = Head.of(self.module)
        if its is None:
            return None
        tokens = (torch.arange(1, 7, device=self.device) * 7919 % len(its.weight)).view(2, 3)
        attend = torch.ones_like(tokens, dtype=torch.bool)
        with torch.no_grad():
            wanted, _ = self(tokens, attend, keep=2)
            states, _ = self.states(tokens, attend, keep=2)
            ours = its.logits(states.to(its.weight.dtype))
        return its if _close(ours, wanted) else None

    @contextlib.contextmanager
    def continued(
        self, tokens: Tensor, attend: Tensor, copies: Tensor, room: int
    ) -> Iterator[tuple[Tensor, Continuation]]:
        """Read tokens [P,T], flush right, once each; then let `copies` [N] of them grow by up to `room` tokens.

        Gives the logits of the first new token [N,V] and what leads on from there. For inference mode; the weights
        must not change inside.
        """
        its = None
        with contextlib.suppress(UnsuitedError):
            its = self._suited()
        with contextlib.nullcontext() if its else packed(self.module):
            logits, cache = self(tokens, attend, keep=1, caching=True)
            yield logits[copies, 0], self._continuation(its, cache, attend, copies, room)

    @property
    def hindrance(self) -> str | None:
        """Why generation goes through transformers, as it can for any architecture; None if it goes through C++.

        It depends on what the module is now, hooks included, and on an example, which is the same in every run:
        resumed ones shall take the same way.
        """
        try:
            self._suited()
        except UnsuitedError as error:
            return str(error)
        return None

    def _suited(self) -> Anatomy:
        """The parts to generate from in C++; raises `UnsuitedError`."""
        kind = type(self.module)
        if plain():
            raise UnsuitedError("kernels = 'torch'")
        if kind.__name__ not in FAMILY or not kind.__module__.startswith("transformers.models."):
            raise UnsuitedError(f"{kind.__name__} is not of the Llama family")
        its = anatomy(self.module)
        if self._disagreement is not None:
            raise UnsuitedError(self._disagreement)
        return its

    @cached_property
    def _disagreement(self) -> str | None:
        """What a short example shows; tried once."""
        its = anatomy(self.module)
        rows = its.head.weight.shape[0]
        tokens = (torch.arange(1, 13) * 7919 % rows).view(2, 6)
        attend = torch.tensor([[True] * 6, [False] * 2 + [True] * 4])
        copies = torch.tensor([1, 0, 1])
        with torch.inference_mode():
            _, cache = self(tokens, attend, keep=1, caching=True)
            ours = self._continuation(its, cache, attend, copies, 2)
            theirs = _Cached(self, cache, attend, copies)
            if not isinstance(ours, LlamaDecoder):
                return "its cache is not that of full attention"
            for token in tokens[:, :2].T[:, copies]:
                one, other = ours(token), theirs(token)
                if not _close(one, other):
                    return "the native decoder does not agree with it"
        return None

    def _continuation(self, its: Anatomy | None, cache: Any, attend: Tensor, copies: Tensor, room: int) -> Continuation:
        flush = bool((attend[:, 1:] >= attend[:, :-1]).all())
        # A window, say, would only show where a sequence is longer than it.
        if its is not None and flush and _kinds(cache) == {"DynamicLayer"}:
            layers = cache.layers
            keys, values = [layer.keys for layer in layers], [layer.values for layer in layers]
            with contextlib.suppress(UnsuitedError):
                return LlamaDecoder(its, keys, values, attend.sum(1), copies, room=attend.shape[1] + room)
        return _Cached(self, cache, attend, copies)


class _Cached:
    """The continuation by the module itself and its cache, whatever they are."""

    def __init__(self, model: CausalModel, cache: Any, attend: Tensor, copies: Tensor) -> None:
        cache.reorder_cache(copies)
        self._model, self._cache, self._attend = model, cache, attend[copies]

    def __call__(self, tokens: Tensor) -> Tensor:
        self._attend = torch.cat([self._attend, self._attend.new_ones(len(tokens), 1)], 1)
        logits, self._cache = self._model(tokens[:, None], self._attend, keep=1, cache=self._cache, caching=True)
        return logits[:, 0]

    def keep(self, rows: Tensor) -> None:
        self._cache.reorder_cache(rows)
        self._attend = self._attend[rows]


def _kinds(cache: Any) -> frozenset[str]:
    return frozenset(type(layer).__name__ for layer in getattr(cache, "layers", [cache]))


def _close(one: Tensor, other: Tensor) -> bool:
    """No where one of them is NaN."""
    share = max(CLOSE, torch.finfo(one.dtype).eps)
    return bool((one - other).abs().max() <= share * other.abs().max())


def left_padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(tokens [B,T] int64, attend [B,T] bool), the rows flush right."""
    width = max(map(len, rows))
    tokens = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=device)
    attend = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows], device=device)
    return tokens, attend
