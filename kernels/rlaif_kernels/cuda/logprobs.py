"""`reference.token_logprobs` in CUDA, with its gradient: one read of the logits on the way there, one on the way back.

Nothing of the logits' size is made but their gradient. A row's numbers depend neither on the other rows nor on how
many there are: few rows are cut up among several blocks, and many are walked by one block each, in the same pieces.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import cuda, sharded
from rlaif_kernels import rows as row_kernels
from rlaif_kernels.cuda import NUMBERS, address
from rlaif_kernels.gpu import check, check_ids, height_of, layout
from rlaif_kernels.rows import Rows, Said

__all__ = ["check", "check_ids", "descend", "finish", "fold", "forward", "merge", "sharded_logprobs", "token_logprobs"]

NOWHERE = (0, 0, 0, 0)

token_logprobs = partial(row_kernels.token_logprobs, sys.modules[__name__])
sharded_logprobs = partial(sharded.sharded_logprobs, sys.modules[__name__])


def fold(logits: Tensor, rows: Rows, first: int, state: Tensor | None) -> Tensor:
    """`Backend.fold`: take in the columns `first`, `first` + 1, ... of the vocabulary."""
    fresh = state is None
    if state is None:
        state = torch.empty(height_of(logits), 4, dtype=torch.float32, device=logits.device)
    _take_in(logits, rows, first, address(state), fresh, NOWHERE)
    return state


def merge(state: Tensor, other: Tensor, rows: Rows) -> Tensor:  # noqa: ARG001  these states are in units of z
    """`Backend.merge`, in plain torch: it is for shards, of which there are few."""
    tops = torch.stack([state[:, 0], other[:, 0]])
    top = tops.amax(0)
    apart = (tops - top).masked_fill_(tops == -torch.inf, -torch.inf)  # where both are, the difference is no number
    share = apart.exp()
    far = apart.masked_fill(share == 0.0, 0.0)
    masses, moments = torch.stack([state[:, 1], other[:, 1]]), torch.stack([state[:, 2], other[:, 2]])
    moment = (share * (moments + far * masses)).sum(0)
    return state.copy_(torch.stack([top, (share * masses).sum(0), moment, state[:, 3] + other[:, 3]], 1))


def finish(state: Tensor, rows: Rows, entropy: bool) -> Said:
    """`Backend.finish`: what a whole row's state says."""
    said = _room(state, entropy)
    cuda.binary.finish(cuda.queue(state), len(state), _asked(rows), address(state), tuple(map(address, said)))
    return said


def forward(logits: Tensor, rows: Rows, entropy: bool) -> Said:
    """`Backend.forward`: `fold` and `finish` in one."""
    check(rows, logits.shape[-1])
    said = _room(logits, entropy)
    _take_in(logits, rows, 0, 0, True, tuple(map(address, said)))
    return said


def descend(
    logits: Tensor,
    rows: Rows,
    first: int,
    said: Said,
    of_logp: Tensor | None,
    of_entropy: Tensor | None,
    out: Tensor,
) -> None:
    """`Backend.descend`: the gradient with respect to a block of logits, into `out`."""
    slopes = [cuda.plain(slope, torch.float32) for slope in (of_logp, of_entropy)]
    cuda.binary.descend(
        cuda.queue(logits),
        _logits(logits, first),
        _asked(rows),
        tuple(map(address, said)),
        *map(address, slopes),
        address(out),
        layout(out),
    )


def _take_in(logits: Tensor, rows: Rows, first: int, state: int, fresh: bool, said: tuple[int, ...]) -> None:
    height, pieces = height_of(logits), -(-logits.shape[-1] // cuda.binary.COLUMNS)
    parts = None
    if pieces > 1 and cuda.few(height):
        parts = torch.empty(height, pieces, 4, dtype=torch.float32, device=logits.device)
    where = cuda.queue(logits)
    cuda.binary.fold(where, _logits(logits, first), _asked(rows), state, fresh, said, address(parts))


def _room(like: Tensor, entropy: bool) -> Said:
    """Memory of its own for each, so that writing to one is not writing to another."""

    def numbers() -> Tensor:
        return torch.empty(height_of(like), dtype=torch.float32, device=like.device)

    return Said(numbers(), numbers() if entropy else None, numbers(), numbers())


def _logits(logits: Tensor, first: int) -> tuple[Any, ...]:
    return NUMBERS[logits.dtype], address(logits), layout(logits), height_of(logits), logits.shape[-1], first


def _asked(rows: Rows) -> tuple[float, ...]:
    each = address(rows.temperatures)
    return address(rows.targets), rows.ignored, each, rows.temperature, rows.scale, rows.softcap
