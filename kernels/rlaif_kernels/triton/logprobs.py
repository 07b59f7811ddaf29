"""`reference.token_logprobs` in Triton: row kernels (see `rows.Backend`), two launches forwards and one back.

A row is cut into segments of SEGMENT columns wherever it is longer, each the work of one program, and a second kernel
joins what they found in an order that is fixed. Nothing is atomic, and the cut depends on the row's length alone: the
result is the same, bit by bit, from run to run and in whatever batch the row stands. (Rows that all begin at multiples
of 16 entries are loaded, and so summed, in another order than others: a copy at another distance may differ in the
last bit.)
"""

from __future__ import annotations

import sys
from functools import partial

import torch
import triton
from torch import Tensor

from rlaif_kernels import rows as row_kernels
from rlaif_kernels import sharded
from rlaif_kernels.gpu import check, check_ids, height_of, layout
from rlaif_kernels.rows import Rows, Said
from rlaif_kernels.triton import OPTIONS, device_of
from rlaif_kernels.triton.kernels import rows as kernels

__all__ = [
    "asked_of",
    "check",
    "check_ids",
    "descend",
    "finish",
    "fold",
    "forward",
    "join",
    "merge",
    "room",
    "sharded_logprobs",
    "token_logprobs",
]

BLOCK = 4096  # columns in flight: 32 bytes of bf16 a thread
SEGMENT = 4 * BLOCK
WARPS = 8
JOINED = 16  # rows a program joins

token_logprobs = partial(row_kernels.token_logprobs, sys.modules[__name__])
sharded_logprobs = partial(sharded.sharded_logprobs, sys.modules[__name__])


def fold(logits: Tensor, rows: Rows, first: int, state: Tensor | None) -> Tensor:
    """As in `rows.Backend`; the state so far is joined as one segment more."""
    states = _segments(logits, rows, first, state)
    state = logits.new_empty(height_of(logits), 4, dtype=torch.float32) if state is None else state
    join(states, rows, state=state)
    return state


def merge(state: Tensor, other: Tensor, rows: Rows) -> Tensor:
    """As in `rows.Backend`."""
    join(torch.stack([state, other], 1), rows, state=state)
    return state


def finish(state: Tensor, rows: Rows, entropy: bool) -> Said:
    """As in `rows.Backend`."""
    said = room(state, entropy)
    join(state.unsqueeze(1), rows, said=said)
    return said


def forward(logits: Tensor, rows: Rows, entropy: bool) -> Said:
    """As in `rows.Backend`; without the entropy its sum is not formed."""
    check(rows, logits.shape[-1])
    said = room(logits, entropy)
    join(_segments(logits, rows, 0, None, moment=entropy, whole=True), rows, said=said)
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
    """As in `rows.Backend`."""
    height, width = height_of(logits), logits.shape[-1]
    segments = triton.cdiv(width, SEGMENT)
    entropy = None if of_entropy is None else said.entropy
    with device_of(logits):
        kernels.descend[(height * segments,)](
            *(logits, *layout(logits), *asked_of(rows), first, width, segments),
            *(said.largest, said.logsum, entropy, of_logp, of_entropy, out, *layout(out)),
            SOFTCAP=bool(rows.softcap),
            BLOCK=BLOCK,
            SEGMENT=SEGMENT,
            num_warps=WARPS,
            **OPTIONS,
        )


def room(like: Tensor, entropy: bool) -> Said:
    """For what will be said of the rows of a tensor; memory of its own for each, for some of it is handed out."""

    def numbers() -> Tensor:
        return like.new_empty(height_of(like), dtype=torch.float32)

    return Said(numbers(), numbers() if entropy else None, numbers(), numbers())


def join(states: Tensor, rows: Rows, *, state: Tensor | None = None, said: Said | None = None) -> None:
    """[N,S,4] -> one state [N,4] and what is said of it, where they are wanted."""
    height, slots = states.shape[:2]
    with device_of(states):
        kernels.join[(triton.cdiv(height, JOINED),)](
            *(states, height, slots, rows.targets, rows.ignored, state),
            *((None,) * 4 if said is None else said),
            ROWS=JOINED,
            SLOTS=triton.next_power_of_2(slots),
            **OPTIONS,
        )


def _segments(
    logits: Tensor, rows: Rows, first: int, state: Tensor | None, *, moment: bool = True, whole: bool = False
) -> Tensor:
    """The states of each row's segments [N,S,4]: the columns', and last the one that was there before."""
    height, width = height_of(logits), logits.shape[-1]
    segments = max(triton.cdiv(width, SEGMENT), 1)
    states = logits.new_empty(height, segments + (state is not None), 4, dtype=torch.float32)
    if state is not None:
        states[:, -1] = state
    with device_of(logits):
        kernels.fold[(height * segments,)](
            *(logits, *layout(logits), *asked_of(rows), first, width, segments, states, states.shape[1]),
            SOFTCAP=bool(rows.softcap),
            MOMENT=moment,
            WHOLE=whole,
            BLOCK=BLOCK,
            SEGMENT=SEGMENT,
            num_warps=WARPS,
            **OPTIONS,
        )
    return states


def asked_of(rows: Rows) -> tuple[Tensor | float | None, ...]:
    """In the order in which the kernels take it; floats whatever was given, for each type is compiled anew."""
    numbers = float(rows.temperature), rows.temperatures, float(rows.scale), float(rows.softcap)
    return rows.targets, rows.ignored, *numbers
