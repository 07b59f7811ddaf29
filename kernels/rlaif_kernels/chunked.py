"""Linear layer and log-probabilities together, a block of logits at a time: a backend's row kernels, torch's products.

A matrix product is at the machine's limit already; what is saved is everything around it. Logits exist as one block,
are never rounded (16-bit inputs are multiplied into float32), and rows that need no gradient are left out of the
products that make gradients, which is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import reference
from rlaif_kernels.head import Gradients, Head
from rlaif_kernels.reference.numbers import capturing
from rlaif_kernels.rows import Backend, Rows, Said, asked, batched, flow, shaped, transformed

__all__ = [
    "BLOCK",
    "FEW",
    "STASH",
    "block",
    "cleared",
    "descend",
    "forward",
    "kept",
    "linear_logprobs",
    "spread",
    "taken",
    "within",
]

BLOCK = {"cpu": 24 * 2**20, "cuda": 2**27}
"""Bytes of logits that exist at a time, by device. On the CPU 24 MiB, for what takes less than 32 the C library keeps
for the next; beyond, each block would be fresh memory, which costs a quarter of its product. On a GPU 128 MiB, which
keep all of its processors busy."""
STASH = 2**28
"""Bytes of logits that are kept for the backward pass, which computes more than these once more: 256 MiB."""
TALL = 2048
"""Rows beyond which a product gets no faster."""
FEW = 128
"""Rows below which it is much slower: so many are computed at a time though their logits take more than `BLOCK`."""


# What is said of hidden [N,H], weight, bias, and what is asked of them; the last tells whether entropies are wanted.
Fused = Callable[[Tensor, Tensor, Tensor | None, Rows, bool], Said]


def linear_logprobs(
    backend: Backend,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    entropy: bool = False,
    fused: Fused | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """`reference.linear_logprobs`, in blocks, for what is not `rows.unfit`.

    fused: a kernel that does both at once; the backward pass computes the logits.
    """
    rows = asked(targets, temperature, softcap, scale, ignore_index)
    backend.check(rows, len(weight))
    flat = cleared(hidden.reshape(targets.numel(), hidden.shape[-1]), rows)
    asking = backend, entropy, fused, targets.shape, torch.is_grad_enabled()
    said = LinearLogprobs.apply(flat, weight, bias, rows, asking)  # type: ignore[no-untyped-call]
    return (said[0], said[1]) if entropy else said[0]


def forward(backend: Backend, hidden: Tensor, head: Head, rows: Rows, entropy: bool) -> Said:
    """What is said of hidden [N,H], all of it asked."""
    parts: list[Said] = []
    for some in _tall(len(hidden)):
        part, state = rows.take(some), None
        for columns in _blocks(head, some):
            state = backend.fold(head.logits(hidden[some], columns), part, columns.start, state)
        assert state is not None
        said = backend.finish(state, part, entropy)
        if hidden.is_cuda:  # which was not asked whether there are such targets, and folded no column of theirs
            outside = (part.targets < 0) | (part.targets >= len(head.weight))
            said.logp.masked_fill_(outside & (part.targets != part.ignored), torch.nan)
        parts.append(said)
    return _joined(parts)


def descend(
    backend: Backend,
    hidden: Tensor,
    head: Head,
    rows: Rows,
    said: Said,
    slopes: Sequence[Tensor | None],
    gradients: Gradients,
) -> None:
    """Add to `gradients` what flows back to hidden [N,H] and the head; the logits are computed once more.

    slopes: the loss's gradients with respect to log-probs and entropies, [N] each or None. Rows where both are 0, or
    that are not asked, are left out.
    """
    moving = [one != 0 for one in slopes if one is not None]
    moved = kept((moving[0] | moving[-1]) & (rows.targets != rows.ignored))
    count = len(hidden) if isinstance(moved, slice) else len(moved)
    for tall in _tall(count):
        some = tall if isinstance(moved, slice) else moved[tall]
        part, told, its = rows.take(some), said.take(some), hidden[some]
        flows = [one if one is None else one[some] for one in slopes]
        for columns in _blocks(head, tall):
            block = head.logits(its, columns)
            backend.descend(block, part, columns.start, told, flows[0], flows[1], block)
            gradients.add(block, its, some, head, columns)
            del block  # or it would still be there while the next is made


class LinearLogprobs(torch.autograd.Function):
    """hidden [N,H], weight [V,H], bias [V] or None -> log-probs, entropies or None, in the shape that is asked."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Rows,
        asking: tuple[Backend, bool, Fused | None, torch.Size, bool],
    ) -> tuple[Tensor, Tensor | None]:
        backend, entropy, fused, shape, learning = asking
        ctx.backend, ctx.rows, ctx.stash = backend, rows, None
        head, which = Head(weight, bias), kept(rows.targets != rows.ignored)
        its, part = taken(hidden, which), rows.take(which)
        if fused is not None and len(its) > 0:  # a kernel's descriptors are not for empty tensors
            # Nothing is kept: what is said of a row depends neither on the others nor on who wants a gradient.
            said = fused(its, weight, bias, part, entropy)
        elif learning and any(ctx.needs_input_grad) and 4 * len(its) * len(weight) <= STASH:
            ctx.stash = head.logits(its, slice(None)), which
            said = backend.forward(ctx.stash[0], part, entropy)
        else:
            said = forward(backend, its, head, part, entropy)
        told = said.map(lambda one: spread(one, which, len(hidden)))
        # What is asked, too, lest a change go unnoticed.
        ctx.save_for_backward(hidden, weight, bias, rows.targets, rows.temperatures, *told[1:])
        ctx.set_materialize_grads(False)
        return shaped(told, shape)

    @staticmethod
    def backward(ctx: Any, of_logp: Tensor | None, of_entropy: Tensor | None) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, _, _, level, largest, logsum = ctx.saved_tensors
        if of_logp is None and of_entropy is None:
            return (None,) * 5
        if torch.is_grad_enabled() or transformed() or batched(of_logp) or batched(of_entropy):
            return *_by_definition(ctx, hidden, weight, bias, of_logp, of_entropy), *(None,) * 2
        slopes = [one if one is None else one.view(-1) for one in map(flow, (of_logp, of_entropy))]
        head, said = Head(weight, bias), Said(largest, level, largest, logsum)  # the log-probs are not asked
        wanted = ctx.needs_input_grad[:3]
        if ctx.stash is None:
            gradients = Gradients.zeros(hidden, head, wanted)
            descend(ctx.backend, hidden, head, ctx.rows, said, slopes, gradients)
        else:  # they are written over; whoever comes a second time has them computed again
            (logits, which), ctx.stash = ctx.stash, None
            part, flows = ctx.rows.take(which), [one if one is None else taken(one, which) for one in slopes]
            ctx.backend.descend(logits, part, 0, said.take(which), flows[0], flows[1], logits)
            if isinstance(which, slice) and not hidden.is_cuda:
                gradients = Gradients.whole(logits, hidden, head, wanted)
            else:
                gradients = Gradients.zeros(hidden, head, wanted)
                gradients.add(logits, taken(hidden, which), which, head, slice(None))
        return *gradients.like(hidden), *(None,) * 2


def _by_definition(
    ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, *slopes: Tensor | None
) -> list[Tensor | None]:
    """The gradients, as something that can be differentiated."""
    rows: Rows = ctx.rows
    with torch.enable_grad():
        said = reference.linear_logprobs(
            hidden,
            weight,
            rows.targets,
            bias=bias,
            temperature=rows.temperature if rows.temperatures is None else rows.temperatures,
            softcap=rows.softcap or None,
            scale=rows.scale,
            ignore_index=rows.ignored,
            entropy=True,
        )
    given = [(one, slope.reshape(one.shape)) for one, slope in zip(said, slopes, strict=True) if slope is not None]
    outputs, weights = zip(*given, strict=True)
    wanted = [one for one, want in zip((hidden, weight, bias), ctx.needs_input_grad, strict=False) if want]
    found = iter(torch.autograd.grad(outputs, wanted, weights, create_graph=torch.is_grad_enabled()))  # type: ignore[arg-type]
    return [next(found) if want else None for want in ctx.needs_input_grad[:3]]


def _tall(count: int) -> Iterator[slice]:
    """Rows, as many at a time as a product is fast with; one empty piece of nothing."""
    for start in range(0, max(count, 1), TALL):
        yield slice(start, min(start + TALL, count))


def block(like: Tensor) -> int:
    """Numbers of logits that exist at a time on a tensor's device."""
    return BLOCK.get(like.device.type, BLOCK["cuda"]) // 4


def _blocks(head: Head, some: slice) -> Iterator[slice]:
    """Columns of the vocabulary, as many at a time as the logits of `some` rows may take."""
    wide = max(block(head.weight) // max(some.stop - some.start, 1) // 64, 1) * 64
    for start in range(0, len(head.weight), wide):
        yield slice(start, min(start + wide, len(head.weight)))


def cleared(hidden: Tensor, rows: Rows) -> Tensor:
    """hidden [N,H], with 0 in rows that `kept` cannot leave out: they are multiplied into the weight's gradient."""
    if not capturing(hidden):
        return hidden
    return hidden.masked_fill((rows.targets == rows.ignored)[:, None], 0.0)


def kept(flags: Tensor) -> Tensor | slice:
    """Where to find what is True; everything, if all is, or if nobody may ask."""
    if capturing(flags):
        return slice(None)
    found = flags.nonzero()[:, 0]
    return slice(None) if len(found) == len(flags) else found


def within(some: Tensor | slice, which: Tensor | slice) -> Tensor | slice:
    """Of the rows at `some` places, those that are the `which`-th of them: their places."""
    if isinstance(some, slice):
        return some if isinstance(which, slice) else which + (some.start or 0)
    return some if isinstance(which, slice) else some[which]


def taken(x: Tensor, which: Tensor | slice) -> Tensor:
    return x if isinstance(which, slice) else x[which]


def spread(x: Tensor, which: Tensor | slice, count: int) -> Tensor:
    """Numbers of the rows that were kept, at their places among all; 0 elsewhere."""
    return x if isinstance(which, slice) else x.new_zeros(count).index_copy_(0, which, x)


def _joined(parts: list[Said]) -> Said:
    if len(parts) == 1:
        return parts[0]
    spreads = [one.entropy for one in parts if one.entropy is not None]
    logp, largest, logsum = (
        torch.cat(each) for each in zip(*[(p.logp, p.largest, p.logsum) for p in parts], strict=True)
    )
    return Said(logp, torch.cat(spreads) if spreads else None, largest, logsum)
