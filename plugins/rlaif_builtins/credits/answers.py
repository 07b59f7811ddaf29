"""What every credit assignment starts from: each answer's total, who counts, and where on its tokens a number goes."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rlaif_core import Feedback, FeedbackError, PluginError, Rollouts

Truncated = Literal["score", "drop"]
"""What an answer cut off by the length limit gets: its score like any other, or no part in the step at all."""


def totals(rollouts: Rollouts, feedback: Feedback, truncated: str) -> tuple[dict[str, Tensor], Tensor]:
    """({channel: [B] f64}, counted [B] bool), both on the CPU; 0 where an answer does not count."""
    values, counted = feedback.by_channel(rollouts.group, exact=True)
    if truncated == "drop":
        counted = counted & torch.tensor([reason == "stop" for reason in rollouts.finish])
    return {channel: its.where(counted, 0.0) for channel, its in values.items()}, counted


def siblings(rollouts: Rollouts) -> Tensor:
    """[B] int64 on the CPU: the number of each answer's group, counted from 0, wherever its members stand."""
    numbers: Tensor = torch.unique(rollouts.group.cpu(), return_inverse=True)[1]
    return numbers


def over(values: Tensor, group: Tensor) -> Tensor:
    """[B] -> [B]: the sum of `values` over each answer's group."""
    return values.new_zeros(int(group.max()) + 1).index_add(0, group, values)[group]


def lowest(values: Tensor, counted: Tensor, group: Tensor) -> Tensor:
    """[B] -> [B]: the lowest of the counted `values` of each answer's group; inf where there is none."""
    none = values.new_full((int(group.max()) + 1,), torch.inf)
    return none.scatter_reduce(0, group, values.where(counted, torch.inf), "amin")[group]


def spread(values: Tensor, where: Tensor) -> Tensor:
    """values [B] at every True of where [B,T], as f32 on its device; 0 elsewhere."""
    return values.to(where.device, torch.float32)[:, None].where(where, 0.0)


def last_chosen(mask: Tensor) -> Tensor:
    """[B,T] bool: the last token of each row that the policy chose (the end of sequence, or where it was cut off)."""
    return mask & (mask.long().cumsum(1) == mask.sum(1, keepdim=True))


def token_rewards(
    rollouts: Rollouts, feedback: Feedback, channel: str, total: Tensor, unfinished: Tensor | None = None
) -> Tensor:
    """[B,T] f32: what each chosen token earned; a row sums to its `total` [B].

    Sources that score tokens earn where they say; the rest of the total stands at the last chosen token. The rest is
    withheld from rows that are `unfinished` [B].
    """
    mask = rollouts.mask
    placed = torch.zeros(mask.shape, device=mask.device)
    for name, heard in feedback.heard(rollouts.group, channel)[0].items():
        if name in feedback.token_scores:
            placed = placed + feedback.weights[name] * _token_scores(rollouts, feedback, name, heard)
    rest = total.to(placed) - placed.sum(1)
    if unfinished is not None:
        rest = rest.where(~unfinished.to(mask.device), 0.0)
    return placed + spread(rest, last_chosen(mask))


def _token_scores(rollouts: Rollouts, feedback: Feedback, name: str, heard: Tensor) -> Tensor:
    """[B,T] f32: the token scores of a source; 0 off-mask and where its score does not count, as `heard` [B] says."""
    scores, mask = feedback.token_scores[name], rollouts.mask
    if scores.shape != mask.shape:
        raise PluginError(f"source {name!r} gave token scores {tuple(scores.shape)} for tokens {tuple(mask.shape)}")
    scores = scores.to(mask.device, torch.float32).where(mask & heard.to(mask.device)[:, None], 0.0)
    if not bool(scores.isfinite().all()):
        raise FeedbackError(f"source {name!r} gave token scores that are not finite")
    return scores
