"""What one writes in plain torch where there is no kernel: as it stands ("torch eager"), and by torch.compile.

The formulas are the short ones found in trainers: nothing is masked that the case does not mask.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels.bench.case import Call, Contestant, Inputs

__all__ = [
    "attention",
    "group",
    "kept",
    "kept_of_all",
    "linear",
    "linear_loss",
    "logprobs",
    "logprobs_of_some",
    "loss",
    "plain",
    "whiten",
]


def plain(formula: Callable[..., Any], *, compiled: bool = True) -> list[Contestant]:
    """The formula as it stands, and compiled; its parameters are the operation's."""

    def eager(inputs: Inputs) -> Call:
        return partial(formula, **inputs)

    def compile_it(inputs: Inputs) -> Call:
        torch.compiler.reset()  # nothing of an earlier case, whose shapes would make this one's dynamic
        return partial(torch.compile(formula, fullgraph=True, dynamic=False), **inputs)

    contestants = [Contestant("torch eager", eager)]
    if compiled:
        contestants.append(Contestant("torch.compile", compile_it, note="compiled in the first call", compiles=True))
    return contestants


def logprobs(logits: Tensor, targets: Tensor, *, entropy: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    every = torch.log_softmax(logits.float(), -1)
    chosen = every.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return (chosen, -(every.exp() * every).sum(-1)) if entropy else chosen


def logprobs_of_some(logits: Tensor, targets: Tensor, *, entropy: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """0 where the target is below 0."""
    asked, said = targets >= 0, logprobs(logits, targets.clamp(min=0), entropy=entropy)
    return tuple(one.where(asked, 0.0) for one in said) if isinstance(said, tuple) else said.where(asked, 0.0)  # type: ignore[return-value]


def linear(hidden: Tensor, weight: Tensor, targets: Tensor, *, entropy: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    return logprobs(hidden @ weight.T, targets, entropy=entropy)


def kept(hidden: Tensor, weight: Tensor, targets: Tensor, kept: Tensor) -> Tensor:
    """The kept rows of the matrix, gathered."""
    logits = torch.einsum("nkh,nh->nk", weight[kept], hidden).float()
    place = (kept == targets.unsqueeze(-1)).int().argmax(-1, keepdim=True)
    return torch.log_softmax(logits, -1).gather(-1, place).squeeze(-1)


def kept_of_all(hidden: Tensor, weight: Tensor, targets: Tensor, kept: Tensor) -> Tensor:
    """All logits, of which the kept are picked: what a trainer does that has the logits anyway."""
    logits = (hidden @ weight.T).float()
    return (logits.gather(-1, targets.unsqueeze(-1)) - logits.gather(-1, kept).logsumexp(-1, keepdim=True)).squeeze(-1)


def loss(logp: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """PPO's clipped loss, the mean over all tokens, with the four metrics that trainers log."""
    difference = logp - old_logp
    ratio = difference.exp()
    one, other = ratio * advantages, ratio.clamp(0.8, 1.2) * advantages
    count = mask.sum()
    value = -(torch.minimum(one, other) * mask).sum() / count
    with torch.no_grad():
        clipped = ((other < one) * mask).sum() / count
        metrics = torch.stack([clipped, (ratio * mask).sum() / count, ratio.max(), -(difference * mask).sum() / count])
    return value, metrics


def linear_loss(
    hidden: Tensor, weight: Tensor, targets: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    return loss(logprobs(hidden @ weight.T, targets), old_logp, advantages, mask)  # type: ignore[arg-type]


def whiten(x: Tensor, mask: Tensor) -> Tensor:
    count = mask.sum()
    mean = (x * mask).sum() / count
    variance = ((x - mean).square() * mask).sum() / count
    return (x - mean) * torch.rsqrt(variance + 1e-8) * mask


def group(x: Tensor, *, members: int, **_: Tensor) -> Tensor:
    """Groups of the same size, one after the other: as a matrix."""
    rows = x.view(-1, members)
    return ((rows - rows.mean(-1, keepdim=True)) / (rows.std(-1, keepdim=True, correction=0) + 1e-8)).view(-1)


def attention(query: Tensor, key: Tensor, weights: Tensor | None = None) -> Tensor:
    """The map, as `output_attentions` gives it, its mean over the heads, and of that the last row or a weighted sum."""
    shared, queries, keys = query.shape[1] // key.shape[1], query.shape[2], key.shape[2]
    scores = query @ key.repeat_interleave(shared, 1).transpose(-1, -2) * query.shape[-1] ** -0.5
    ahead = torch.ones(queries, keys, dtype=torch.bool, device=key.device).triu(keys - queries + 1)
    attention = torch.softmax(scores.float().masked_fill(ahead, -torch.inf), -1).mean(1)
    return attention[:, -1] if weights is None else (weights[..., None] * attention).sum(1)
