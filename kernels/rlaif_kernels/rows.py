"""Rows of logits to log-probabilities and entropies, and back: what every backend's row kernels do, and one gradient.

A backend is a module with the functions of `Backend`. What they compute of a row depends on that row alone: not on the
others, nor on how many there are. Several blocks of columns may be folded in one after the other, so a row need never
be whole: that is how `linear_logprobs` and shards of a vocabulary work.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from rlaif_kernels import reference

__all__ = ["Backend", "Rows", "Said", "token_logprobs", "unfit"]

TINY = 1e-30  # what is smaller, or larger than its inverse, float32 might not hold


class Rows(NamedTuple):
    """What is asked of N rows: z = cap(scale * logit) / temperature."""

    targets: Tensor
    """[N] int64, contiguous: ids in the whole vocabulary, or `ignored`: then nothing of the row is read."""
    ignored: int
    temperature: float
    scale: float
    softcap: float
    """0: none."""
    temperatures: Tensor | None
    """[N] f32, contiguous: one a row, in the place of `temperature`."""

    def take(self, some: Tensor | slice) -> Rows:
        each = self.temperatures
        return self._replace(targets=self.targets[some], temperatures=each if each is None else each[some])


class Said(NamedTuple):
    """What is said of N rows, [N] f32 each; 0 where the target is ignored."""

    logp: Tensor
    entropy: Tensor | None
    largest: Tensor
    """A z close to the row's largest, from which the others are reckoned; in the backend's own units, as is `logsum`."""
    logsum: Tensor
    """log of the sum of e^(z - largest)."""

    def take(self, some: Tensor | slice) -> Said:
        return Said(*[one if one is None else one[some] for one in self])


class Backend(Protocol):
    """Row kernels. Logits are [N,W], f32, bf16 or f16, each row dense, rows at any distance; sums are kept in f32."""

    def check(self, rows: Rows, vocabulary: int) -> None:
        """Raise IndexError for a target that is not in the vocabulary, where that can be seen without waiting."""

    def check_ids(self, ids: Tensor, vocabulary: int) -> None:
        """The same for other ids than targets; those below 0 stand for none."""

    def fold(self, logits: Tensor, rows: Rows, first: int, state: Tensor | None) -> Tensor:
        """Take in the columns `first`, `first` + 1, ... of the vocabulary; None: these are the first taken in.

        state [N,4] f32, in the backend's own units: a z close to the largest so far, the sum of e^(z - it), the sum of
        e^(z - it) (z - it), and what is known of the target's z. Changed in place, and returned.
        """

    def merge(self, state: Tensor, other: Tensor, rows: Rows) -> Tensor:
        """Take in what another state holds of other columns, in place; returned."""

    def finish(self, state: Tensor, rows: Rows, entropy: bool) -> Said: ...

    def forward(self, logits: Tensor, rows: Rows, entropy: bool) -> Said:
        """`fold` of the whole vocabulary at once, and `finish`."""

    def descend(
        self,
        logits: Tensor,
        rows: Rows,
        first: int,
        said: Said,
        of_logp: Tensor | None,
        of_entropy: Tensor | None,
        out: Tensor,
    ) -> None:
        """The gradient with respect to a block of logits, into `out` [N,W] (its dtype; may be `logits` itself).

        of_logp and of_entropy [N] f32 are the loss's gradients with respect to what was said; None: 0. Rows whose
        target is ignored get 0.
        """


def unfit(logits: Tensor, **numbers: float | Tensor | None) -> str | None:
    """Why these logits with this temperature, scale and softcap are not for a row kernel; None if they are."""
    if logits.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"needs float32, bfloat16 or float16 logits and got {logits.dtype}"
    for name, number in numbers.items():
        if isinstance(number, Tensor) and (name != "temperature" or number.requires_grad):
            return f"has no gradient with respect to the {name}"
        if isinstance(number, int | float) and not TINY <= abs(number) <= 1 / TINY:
            return f"takes a {name} between {TINY} and {1 / TINY}"
    if transformed() or unpack_dual(logits).tangent is not None:  # type: ignore[no-untyped-call]
        return "is not for torch.func and forward-mode differentiation"
    return None


def transformed() -> bool:
    """Whether a transform of torch.func, such as vmap, is at work; yes where torch does not tell."""
    told = getattr(torch._C, "_are_functorch_transforms_active", None)  # noqa: SLF001  there is no public question
    return told is None or bool(told())


def batched(tensor: Tensor | None) -> bool:
    """Whether it stands for many, as with `is_grads_batched=True`; yes where torch does not tell."""
    told = getattr(torch._C._functorch, "is_legacy_batchedtensor", None)  # noqa: SLF001  there is no public question
    return tensor is not None and (told is None or bool(told(tensor)))


def token_logprobs(
    backend: Backend,
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    entropy: bool = False,
    inplace_backward: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """`reference.token_logprobs` by a backend's kernels, for what is not `unfit`."""
    rows = asked(targets, temperature, softcap, scale, ignore_index)
    flat = logits.reshape(targets.numel(), logits.shape[-1])
    said = Logprobs.apply(flat, rows, backend, entropy, inplace_backward)  # type: ignore[no-untyped-call]
    logp: Tensor = said[0].view(targets.shape)
    return (logp, said[1].view(targets.shape)) if entropy else logp


def asked(
    targets: Tensor, temperature: float | Tensor, softcap: float | None, scale: float, ignore_index: int
) -> Rows:
    """The targets [...] and what else is asked of their rows, one after the other."""
    each, common = None, temperature
    if isinstance(temperature, Tensor):
        each, common = temperature.float().resolve_neg().expand(targets.shape).reshape(-1).contiguous(), 1.0
    return Rows(targets.reshape(-1).contiguous(), ignore_index, float(common), scale, softcap or 0.0, each)


def dense(logits: Tensor) -> Tensor:
    """[N,W] with rows that are dense each, however far apart."""
    return logits if logits.stride(1) == 1 and logits.stride(0) >= logits.shape[1] else logits.contiguous()


class Logprobs(torch.autograd.Function):
    """[N,V] -> log-probs [N], entropies [N] or None, and what the way back needs, [N] each."""

    @staticmethod
    def forward(
        logits: Tensor, rows: Rows, backend: Backend, entropy: bool, _inplace: bool
    ) -> tuple[Tensor | None, ...]:
        return tuple(backend.forward(dense(logits), rows, entropy))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        logits, rows, ctx.backend, _, ctx.inplace = inputs
        ctx.asked = rows[1:5]
        ctx.save_for_backward(logits, rows.targets, rows.temperatures, *output)
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, of_logp: Tensor | None, of_entropy: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        logits, targets, temperatures, *told = ctx.saved_tensors
        if of_logp is None and of_entropy is None:
            return (None,) * 5
        rows = Rows(targets, *ctx.asked, temperatures)
        # To be differentiated in its turn, or many gradients at once.
        if torch.is_grad_enabled() or transformed() or batched(of_logp) or batched(of_entropy):
            return _by_definition(logits, rows, of_logp, of_entropy), None, None, None, None
        slopes = [one if one is None else one.resolve_neg().contiguous() for one in (of_logp, of_entropy)]
        if ctx.inplace and dense(logits) is logits:  # and no two rows in one place, as expanded ones are
            ctx.backend.descend(logits, rows, 0, Said(*told), *slopes, logits)
            torch.autograd.graph.increment_version(logits)  # whoever kept them for a gradient of his own is told
            return logits, None, None, None, None
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        ctx.backend.descend(dense(logits), rows, 0, Said(*told), *slopes, gradient)
        return gradient, None, None, None, None


def _by_definition(logits: Tensor, rows: Rows, *slopes: Tensor | None) -> Tensor:
    """The gradient with respect to the logits, as something that can be differentiated."""
    with torch.enable_grad():
        said = reference.token_logprobs(
            logits,
            rows.targets,
            temperature=rows.temperature if rows.temperatures is None else rows.temperatures,
            softcap=rows.softcap or None,
            scale=rows.scale,
            ignore_index=rows.ignored,
            entropy=True,
        )
    outputs, weights = zip(*((o, w) for o, w in zip(said, slopes, strict=True) if w is not None), strict=True)
    gradient: Tensor = torch.autograd.grad(outputs, logits, weights, create_graph=torch.is_grad_enabled())[0]
    return gradient
