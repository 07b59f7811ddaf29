"""Log-probs of rollouts under a causal language model: shifted by one, at the temperature and over the support that
the tokens were drawn with. What several answers have in common before their first chosen token is read only once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

import rlaif_kernels as rk
from rlaif_core.causal import CausalModel, Head
from rlaif_core.protocols import Forward
from rlaif_core.types import Rollouts

IGNORED = -100
WORTH = 0.125  # the share of all positions that reading a common beginning once must save to be worth two passes


def score(model: CausalModel, rollouts: Rollouts, *, entropy: bool = False, hidden: bool = False) -> Forward:
    """What `Forward` holds, differentiable. The log-prob of the token at t comes from the state at t - 1."""
    tokens, attend, mask = (x.to(model.device) for x in (rollouts.tokens, rollouts.attend, rollouts.mask))
    left, right = _span(attend)
    first = _span(mask)[0] if bool(mask.any()) else right - 1
    start = first - 1  # the state here predicts the first chosen token; nothing is asked of the last token's
    stop = right if hidden else right - 1
    targets = tokens[:, first:right].masked_fill(~mask[:, first:right], IGNORED)
    kept = None if rollouts.kept is None else rollouts.kept[:, first:right].to(model.device)
    asked = _Asked(targets, kept, rollouts.temperature, entropy)
    read = (model, tokens[:, left:stop], attend[:, left:stop], start - left)
    if model.head is not None:
        states = _read(model.states, *read)
        said = asked.of_states(states[:, : right - first], model.head)
    else:
        with _last_hidden(model.module) if hidden else _nothing() as seen:
            logits = _read(model, *read)
        said = asked.of_logits(logits[:, : right - first])
        states = seen[-1][:, start - stop :] if hidden else logits[:, :0]
    logp, spread = said if isinstance(said, tuple) else (said, None)
    around = (first, tokens.shape[1] - right)
    forward = Forward(pad(logp, around), pad(spread, around) if spread is not None else None)
    if not hidden:
        return forward
    chosen = torch.where(mask[:, first:right, None], states[:, :-1], 0)
    return Forward(
        forward.logp, forward.entropy, pad(chosen, (0, 0, *around)), _at_last(states, attend[:, start:right])
    )


class _Asked(NamedTuple):
    """targets [B,T], what the sampler kept [B,T,K] or None, and at which temperature it drew."""

    targets: Tensor
    kept: Tensor | None
    temperature: float
    entropy: bool

    def of_states(self, states: Tensor, head: Head) -> Tensor | tuple[Tensor, Tensor]:
        """states [B,T,H], of which no more logits are made than are read."""
        options: dict[str, Any] = {
            **self._options,
            "bias": head.bias,
            "softcap": head.softcap,
            "scale": head.scale,
        }
        states = states.to(head.weight.dtype)
        if self.kept is None:
            return rk.linear_logprobs(states, head.weight, self.targets, entropy=self.entropy, **options)
        # Positions without a list were drawn from the whole vocabulary; both kinds occur together only after `extend`.
        listed = (self.kept >= 0).any(-1)
        targets = self.targets.where(listed, IGNORED)
        some = rk.kept_logprobs(states, head.weight, targets, self.kept, entropy=self.entropy, **options)
        whole = self.targets.masked_fill(listed, IGNORED)
        if not bool((whole != IGNORED).any()):
            return some
        rest = rk.linear_logprobs(states, head.weight, whole, entropy=self.entropy, **options)
        if isinstance(some, tuple) and isinstance(rest, tuple):
            return some[0] + rest[0], some[1] + rest[1]
        assert isinstance(some, Tensor)
        assert isinstance(rest, Tensor)
        return some + rest

    def of_logits(self, logits: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """logits [B,T,V]"""
        if self.kept is not None:
            logits = _only_kept(logits, self.kept)
        return rk.token_logprobs(logits, self.targets, entropy=self.entropy, **self._options)

    @property
    def _options(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "ignore_index": IGNORED}


def _read(
    call: Callable[..., tuple[Tensor, Any]], model: CausalModel, tokens: Tensor, attend: Tensor, start: int
) -> Tensor:
    """[B, T - start, ...]: what `call` (the model, or its `states`) gives at positions `start` on."""
    keep = tokens.shape[1] - start
    if model.shares_prefixes and start:
        heads, same = torch.unique(torch.stack([tokens[:, :start], attend[:, :start]], 1), dim=0, return_inverse=True)
        if (len(tokens) - len(heads)) * start > WORTH * tokens.numel():
            _, cache = call(heads[:, 0], heads[:, 1].bool(), keep=1, caching=True)
            if model.shares_prefixes:
                cache.reorder_cache(same)
                return call(tokens[:, start:], attend, keep=keep, cache=cache, caching=True)[0]
    return call(tokens, attend, keep=keep)[0]


def _span(here: Tensor) -> tuple[int, int]:
    """First column in which any row is True, and the one behind the last such column."""
    columns = here.any(0).nonzero()[:, 0]
    return int(columns[0]), int(columns[-1]) + 1


@contextlib.contextmanager
def _last_hidden(module: Any) -> Iterator[list[Tensor]]:
    """Catch what goes into the output embeddings: the trunk's last hidden state, whatever the architecture calls it."""
    seen: list[Tensor] = []
    hook = module.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        hook.remove()


@contextlib.contextmanager
def _nothing() -> Iterator[list[Tensor]]:
    yield []


def _at_last(states: Tensor, attend: Tensor) -> Tensor:
    """[B,H]: the state at each row's last attended position."""
    place = attend.shape[1] - 1 - attend.flip(1).int().argmax(1)
    return states[torch.arange(len(states), device=states.device), place]


def _only_kept(logits: Tensor, kept: Tensor) -> Tensor:
    """logits [B,T,V] with every token outside kept [B,T,K] (padded with -1) at -inf; positions without a list whole."""
    size = logits.shape[-1]
    allowed = torch.zeros(*logits.shape[:-1], size + 1, dtype=torch.bool, device=logits.device)
    allowed.scatter_(-1, kept.long().where(kept >= 0, size), True)
    allowed = allowed[..., :-1] | (kept < 0).all(-1, keepdim=True)
    return logits.masked_fill(~allowed, -torch.inf)
