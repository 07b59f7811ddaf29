"""Row kernels in C++: all of a piece of a row is done while it is in the processor's cache, each logit read once.

Nothing of the logits' size is made but their gradient. A row's numbers depend neither on the other rows nor on the
number of threads, which are torch's own.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

from torch import Tensor, empty_like, get_num_threads
from torch import float32 as single

from rlaif_kernels import rows as row_kernels
from rlaif_kernels import sharded
from rlaif_kernels.dispatch import ImplementationError
from rlaif_kernels.native import KINDS, address, binary, quick, refuses
from rlaif_kernels.rows import Rows, Said

__all__ = [
    "at_once",
    "check",
    "check_ids",
    "descend",
    "finish",
    "fold",
    "forward",
    "merge",
    "sharded_logprobs",
    "token_logprobs",
]

variant = ""
"""One of `binary.variants()`, by default the first: tests try them all."""

token_logprobs = partial(row_kernels.token_logprobs, sys.modules[__name__])
sharded_logprobs = partial(sharded.sharded_logprobs, sys.modules[__name__])


def fold(logits: Tensor, rows: Rows, first: int, state: Tensor | None) -> Tensor:
    begun = state is not None
    if state is None:
        state = logits.new_empty(len(rows.targets), 4, dtype=single)
    binary.logprobs_fold(*_block(logits, rows, first), state.data_ptr(), begun, get_num_threads(), variant)
    return state


def merge(state: Tensor, other: Tensor, rows: Rows) -> Tensor:
    _, _, temperature, scale, softcap, each = rows
    binary.logprobs_merge(state.data_ptr(), other.data_ptr(), len(state), address(each), temperature, scale, softcap)
    return state


def finish(state: Tensor, rows: Rows, entropy: bool) -> Said:
    said = _room(state, entropy)
    binary.logprobs_finish(state.data_ptr(), rows.targets.data_ptr(), len(state), rows.ignored, *map(address, said))
    return said


def forward(logits: Tensor, rows: Rows, entropy: bool) -> Said:
    said = _room(rows.targets, entropy)
    wrong = binary.logprobs_forward(*_block(logits, rows, 0), *map(address, said), get_num_threads(), variant)
    if wrong >= 0:
        raise astray(rows, wrong, logits.shape[-1])
    return said


def at_once(
    logits: Tensor, targets: Tensor, transform: tuple[Any, ...], entropy: bool, *, back: bool
) -> tuple[Tensor, Tensor | None, Tensor | None] | None:
    """Log-probs and entropies, shaped as the targets, of logits [..., V] and a `Transform` that are plain; else None.

    The binary looks at the tensors by itself: asking them in Python what they are takes ten times as long. `back`: the
    way back will be gone, which needs the third, `Said.largest` and `Said.logsum` as [2,N]. Raises ImplementationError
    for tensors whose addresses are not for the binary at all.
    """
    temperature, softcap, scale, ignored = transform
    if not variant and quick and type(temperature) is float:
        logp = empty_like(targets, dtype=single)
        spread = empty_like(targets, dtype=single) if entropy else None
        told = targets.new_empty(2, targets.numel(), dtype=single) if back else None
        if binary.logprobs_at_once(logits, targets, logp, spread, told, temperature, scale, softcap, ignored):
            return logp, spread, told
    hindrance = refuses((logits, targets))
    if hindrance is not None:
        raise ImplementationError(hindrance)
    return None


def takes(logits: Tensor, targets: Tensor) -> bool:
    """Whether the numbers of these tensors, which are plain and in the CPU's memory, lie as they are."""
    return logits.dtype in KINDS and not logits.is_neg() and type(targets) is Tensor


def descend(
    logits: Tensor, rows: Rows, first: int, said: Said, of_logp: Tensor | None, of_entropy: Tensor | None, out: Tensor
) -> None:
    _, stride, outer = _steps(out)
    binary.logprobs_descend(
        *_block(logits, rows, first),
        address(of_logp),
        address(of_entropy),
        said.largest.data_ptr(),
        said.logsum.data_ptr(),
        address(said.entropy),
        out.data_ptr(),
        stride,
        outer,
        get_num_threads(),
        variant,
    )


def check(rows: Rows, vocabulary: int) -> None:
    """Raise IndexError for a target that is not in the vocabulary."""
    wrong = binary.logprobs_astray(rows.targets.data_ptr(), len(rows.targets), vocabulary, rows.ignored)
    if wrong >= 0:
        raise astray(rows, wrong, vocabulary)


def check_ids(ids: Tensor, vocabulary: int) -> None:
    if bool((ids >= vocabulary).any()):
        raise IndexError(f"kept token {int(ids.max())} is not in a vocabulary of {vocabulary}")


def astray(rows: Rows, wrong: int, vocabulary: int) -> IndexError:
    return IndexError(f"target {int(rows.targets[wrong])} is not in a vocabulary of {vocabulary}")


def _room(like: Tensor, entropy: bool) -> Said:
    """Memory of its own for each, as what is handed out may be changed."""

    def numbers() -> Tensor:
        return like.new_empty(len(like), dtype=single)

    return Said(numbers(), numbers() if entropy else None, numbers(), numbers())


def _block(logits: Tensor, rows: Rows, first: int) -> tuple[float, ...]:
    """What every call is told of a block of logits; the caller keeps the tensors alive."""
    targets, ignored, temperature, scale, softcap, each = rows
    return (
        logits.data_ptr(),
        KINDS[logits.dtype],
        *_steps(logits),
        len(targets),
        logits.shape[-1],
        first,
        targets.data_ptr(),
        ignored,
        address(each),
        temperature,
        scale,
        softcap,
    )


def _steps(logits: Tensor) -> tuple[int, int, int]:
    """How many rows are one stride apart, that stride, and the one from there to the next of them."""
    inner, outer = (len(logits), 0) if logits.ndim == 2 else (logits.shape[1], logits.stride(0))
    return max(inner, 1), logits.stride(-2), outer
