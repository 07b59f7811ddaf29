"""Cutting a batch into micro-batches: what is learnt or measured over the parts is that of the whole batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from rlaif_core.types import Experience, Rollouts

Batch = TypeVar("Batch", Experience, Rollouts)


def slices(rows: int, size: int | None) -> list[slice]:
    """The rows in order, at most `size` at a time (None: all)."""
    size = size or rows
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def taken(batch: Batch, rows: slice) -> Batch:
    """Some rows of a batch; the batch itself where that is all of them."""
    every = range(len(batch if isinstance(batch, Rollouts) else batch.rollouts))
    return batch if every == every[rows] else batch.take(every[rows])


def without_gradients(
    of: Callable[[Rollouts], tuple[Tensor, ...]], rollouts: Rollouts, size: int | None
) -> tuple[Tensor, ...]:
    """What `of` says of all rollouts, row by row, when asked about at most `size` at a time."""
    with torch.no_grad():
        said = [of(taken(rollouts, rows)) for rows in slices(len(rollouts), size)]
    return tuple(torch.cat(each) for each in zip(*said, strict=True))


def detached(logprobs: Callable[[Rollouts], Tensor], rollouts: Rollouts, size: int | None) -> Tensor:
    """`logprobs` of all rollouts, [B,T] f32, computed at most `size` answers at a time."""
    return without_gradients(lambda part: (logprobs(part),), rollouts, size)[0]


def rounds(module: nn.Module) -> bool:
    """Whether it computes in half precision, where what it says of an answer varies with those that share the pass."""
    return any(p.dtype.itemsize < 4 for p in module.parameters())


def averaged(measured: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric over several updates."""
    return {name: sum(each[name] for each in measured) / len(measured) for name in measured[0]}
