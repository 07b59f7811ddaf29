"""Policy loss straight from hidden states: every row's gradient is found while its logits are at hand.

A token's gradient is known as soon as its log-prob is, so a block of rows goes through logits, loss and gradient at
once: three matrix products, where computing the logits again for the backward pass makes four. These four remain where
one ratio is shared by a whole answer (GSPO), for its gradient waits for all of the answer's tokens; and in float16, for
GPUs multiply gradients of logits in that, in which the small ones are 0 unless the loss's own scale is theirs before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import chunked
from rlaif_kernels.head import Gradients, Head
from rlaif_kernels.reference.losses import Aggregation, LinearPolicyLoss, PolicyLoss, Ratio, token_weights
from rlaif_kernels.rows import Backend, Rows, Said, asked

__all__ = ["Work", "later", "linear_policy_loss"]

Loss = Callable[..., PolicyLoss]

ROOM = {"cuda": 2**29}
"""Bytes of logits at a time where `chunked.BLOCK` is too few: with each block the gradient of the weight, which can be
gigabytes, is read and written, and the device is waited for; a thousand rows are worth that, a hundred are not."""


def linear_policy_loss(
    backend: Backend,
    loss: Loss,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    old_logp: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    aggregation: Aggregation | Tensor = "token_mean",
    length: int | None = None,
    reference: Tensor | None = None,
    correction: Tensor | None = None,
    **options: Any,
) -> LinearPolicyLoss:
    """`reference.linear_policy_loss` by a backend's row kernels and its `policy_loss`."""
    rows = asked(targets.where(mask, -100), temperature, softcap, scale, -100)
    backend.check(rows, len(weight))
    weights = token_weights(mask, aggregation, length) if isinstance(aggregation, str) else aggregation
    tokens = {
        "old_logp": old_logp,
        "advantages": advantages,
        "mask": mask,
        "aggregation": weights,
        "reference": reference,
        "correction": correction,
    }
    flat = chunked.cleared(hidden.reshape(targets.numel(), hidden.shape[-1]), rows)
    learning = torch.is_grad_enabled()  # which is off in any case once a function of autograd runs
    said = LinearPolicy.apply(flat, weight, bias, rows, backend, loss, tokens, options, learning)  # type: ignore[no-untyped-call]
    return LinearPolicyLoss(*said)


def later(hidden: Tensor, ratio: Ratio) -> bool:
    """Whether the gradients wait for all log-probs, or for the gradient of the loss."""
    return ratio == "sequence" or hidden.dtype == torch.float16


class LinearPolicy(torch.autograd.Function):
    """hidden [B T,H], weight [V,H], bias [V] or None -> loss, metrics, log-probs [B,T], entropies [B,T]."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Rows,
        backend: Backend,
        loss: Loss,
        tokens: dict[str, Tensor | None],
        options: dict[str, Any],
        learning: bool,
    ) -> tuple[Tensor, ...]:
        head, wanted = Head(weight, bias), ctx.needs_input_grad[:3] if learning else (False, False, False)
        ctx.later, gradients = later(hidden, options["ratio"]), Gradients(None, None, None)
        work = Work(backend, loss, hidden, head, rows, tokens, options)
        if ctx.later:
            told, slopes = work.by_answer(any(wanted))
            ctx.backend, ctx.rows = backend, rows
            ctx.save_for_backward(hidden, weight, bias, rows.targets, rows.temperatures, *told, *slopes)
            said = work.said(told)
        else:
            said, gradients = work.learnt(wanted)
        ctx.gradients = gradients
        ctx.mark_non_differentiable(*said[1:])
        return said

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.later:
            return *_descended(ctx, of_loss), *(None,) * 6
        if ctx.gradients is None:
            raise RuntimeError("linear_policy_loss: its gradients were handed out already; they are found only once")
        found, ctx.gradients = ctx.gradients, None
        return *[one if one is None else one.mul_(of_loss) for one in found], *(None,) * 6


def _descended(ctx: Any, of_loss: Tensor) -> list[Tensor | None]:
    """The gradients, from those with respect to log-probs and entropies and that of the loss."""
    hidden, weight, bias, _, _, *told, of_logp, of_entropy = ctx.saved_tensors
    head = Head(weight, bias)
    gradients = Gradients.zeros(hidden, head, ctx.needs_input_grad[:3])
    slopes = of_logp * of_loss, of_entropy * of_loss
    chunked.descend(ctx.backend, hidden, head, ctx.rows, Said(*told), slopes, gradients)
    return gradients.like(hidden)


class Work:
    """What all blocks of rows share."""

    def __init__(
        self,
        backend: Backend,
        loss: Loss,
        hidden: Tensor,
        head: Head,
        rows: Rows,
        tokens: dict[str, Tensor | None],
        options: dict[str, Any],
    ) -> None:
        self.backend, self.loss, self.hidden, self.head, self.rows = backend, loss, hidden, head, rows
        self.tokens, self.options = tokens, options
        self.kept = chunked.kept(rows.targets != rows.ignored)

    def said(self, told: Said) -> LinearPolicyLoss:
        """The loss of the log-probs and entropies of all rows."""
        mask = self.tokens["mask"]
        assert mask is not None
        assert told.entropy is not None
        logp, entropy = told.logp.view(mask.shape), told.entropy.view(mask.shape)
        loss, metrics = self.loss(logp, **self.tokens, entropy=entropy, **self.options)
        return LinearPolicyLoss(loss.clone(), metrics, logp, entropy)  # a view could not be divided in place

    def learnt(self, wanted: tuple[bool, bool, bool]) -> tuple[LinearPolicyLoss, Gradients]:
        """What is said of all rows, and on the way the gradients that are `wanted`, in hidden's dtype."""
        gradients = Gradients.zeros(self.hidden, self.head, wanted)
        said = self.said(self.by_token(gradients))
        return said, Gradients(*gradients.like(self.hidden))

    def by_token(self, gradients: Gradients) -> Said:
        """Rows in blocks that have all their logits at once; the gradients are added up, and what is said returned."""
        told = _room(self.hidden)
        for place in self._blocks():
            said = self._learn(place, gradients)
            told.logp[place] = said.logp
            told.entropy[place] = said.entropy  # type: ignore[index, assignment]
        return told

    def _learn(self, place: Tensor | slice, gradients: Gradients) -> Said:
        """From logits to gradients, for the rows at one place; what is said of them."""
        everything = slice(0, len(self.head.weight))
        part, its = self.rows.take(place), self.hidden[place]
        logits = self.head.logits(its, everything)
        said = self.backend.forward(logits, part, True)
        assert said.entropy is not None
        if all(one is None for one in gradients):
            return said
        one_row = {name: one if one is None else one.flatten()[place][None] for name, one in self.tokens.items()}
        of_logp, of_entropy = (one[0] for one in self._slopes(said.logp[None], said.entropy[None], one_row))
        moved = chunked.kept((of_logp != 0) | (of_entropy != 0))
        logits, its = chunked.taken(logits, moved), chunked.taken(its, moved)
        flows = [one[moved].contiguous() for one in (of_logp, of_entropy)]
        self.backend.descend(logits, part.take(moved), 0, said.take(moved), flows[0], flows[1], logits)
        gradients.add(logits, its, chunked.within(place, moved), self.head, everything)
        return said

    def by_answer(self, learning: bool) -> tuple[Said, tuple[Tensor | None, Tensor | None]]:
        """All log-probs first; with them, if `learning`, the gradients of the loss with respect to what is said."""
        its, part = chunked.taken(self.hidden, self.kept), self.rows.take(self.kept)
        said = chunked.forward(self.backend, its, self.head, part, True)
        told = said.map(lambda one: chunked.spread(one, self.kept, len(self.hidden)))
        if not learning:
            return told, (None, None)
        mask = self.tokens["mask"]
        assert mask is not None
        assert told.entropy is not None
        slopes = self._slopes(told.logp.view(mask.shape), told.entropy.view(mask.shape), self.tokens)
        return told, (slopes[0].flatten(), slopes[1].flatten())

    def _slopes(self, logp: Tensor, entropy: Tensor, tokens: dict[str, Tensor | None]) -> tuple[Tensor, Tensor]:
        """The gradient of the loss with respect to log-probs and entropies, each [B,T]."""
        with torch.enable_grad():
            leaves = logp.detach().requires_grad_(), entropy.detach().requires_grad_()
            loss = self.loss(leaves[0], **tokens, entropy=leaves[1], **self.options).loss
            found = torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
        return found[0], found[1]

    def _blocks(self) -> Iterator[Tensor | slice]:
        """The rows that are asked, as many at a time as their logits may take."""
        room = max(chunked.block(self.hidden), ROOM.get(self.hidden.device.type, 0) // 4)
        many = max(room // max(len(self.head.weight), 1), chunked.FEW)
        count = len(self.hidden) if isinstance(self.kept, slice) else len(self.kept)
        for start in range(0, count, many):
            some = slice(start, min(start + many, count))
            yield some if isinstance(self.kept, slice) else self.kept[some]


def _room(hidden: Tensor) -> Said:
    return Said(*[hidden.new_zeros(len(hidden), dtype=torch.float32) for _ in range(4)])
