"""`reference.sharded_logprobs` by a backend's row kernels: four numbers a position are exchanged, once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from rlaif_kernels.rows import Backend, Rows, Said, asked, dense, flow, shaped

__all__ = ["sharded_logprobs"]


def sharded_logprobs(
    backend: Backend,
    logits: Tensor,
    targets: Tensor,
    *,
    first: int,
    group: Any = None,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    entropy: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """As defined, for what is not `rows.unfit`; the processes' states are merged in the order of their ranks.

    Differentiable once, without another exchange. The log-prob of a target outside the vocabulary is NaN.
    """
    rows = asked(targets, temperature, softcap, scale, ignore_index)
    flat = logits.reshape(targets.numel(), logits.shape[-1])
    said = Sharded.apply(flat, rows, backend, first, group, entropy, targets.shape)  # type: ignore[no-untyped-call]
    return (said[0], said[1]) if entropy else said[0]


class Sharded(torch.autograd.Function):
    """[N,W] of the columns from `first` on -> what is said of the N rows; log-probs and entropies in a given shape."""

    @staticmethod
    def forward(
        logits: Tensor, rows: Rows, backend: Backend, first: int, group: Any, entropy: bool, shape: torch.Size
    ) -> tuple[Tensor | None, ...]:
        own = backend.fold(dense(logits), rows, first, None)
        # One row more says where this process's columns end, and so how large the vocabulary is.
        own = torch.cat([own, own.new_full((1, 4), first + logits.shape[1])])
        states = own.new_empty(distributed.get_world_size(group), *own.shape)
        distributed.all_gather(list(states.unbind(0)), own, group=group)
        state = states[0, :-1]
        for other in states[1:, :-1]:
            state = backend.merge(state, other, rows)
        said = backend.finish(state, rows, entropy)
        outside = (rows.targets < 0) | (rows.targets >= states[:, -1, 0].amax())
        said.logp.masked_fill_(outside & (rows.targets != rows.ignored), torch.nan)
        return *shaped(said, shape), said.largest, said.logsum

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        logits, rows, ctx.backend, ctx.first, *_ = inputs
        ctx.asked = rows[1:5]
        # Not the log-probs, for whoever gets them may change them.
        ctx.save_for_backward(logits, rows.targets, rows.temperatures, *output[1:])
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_logp: Tensor | None, of_entropy: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        logits, targets, temperatures, level, largest, logsum = ctx.saved_tensors
        if of_logp is None and of_entropy is None:
            return (None,) * 7
        slopes = [one if one is None else one.view(-1) for one in map(flow, (of_logp, of_entropy))]
        said = Said(largest, level if level is None else level.view(-1), largest, logsum)
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        rows = Rows(*(targets, *ctx.asked, temperatures))
        ctx.backend.descend(dense(logits), rows, ctx.first, said, *slopes, gradient)
        return gradient, *(None,) * 6
