"""Rows of logits to log-probabilities and entropies, and back: what every backend's row kernels do, and one gradient.

A backend is a module with the functions of `Backend`. What they compute of a row depends on that row alone: not on the
others, nor on how many there are. Several blocks of columns may be folded in one after the other, so a row need never
be whole: that is how `linear_logprobs` and shards of a vocabulary work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad

from rlaif_kernels import fresh, reference
from rlaif_kernels.dispatch import TURNED_OFF
from rlaif_kernels.native import WRAPPED

__all__ = [
    "Backend",
    "Logprobs",
    "Rows",
    "Said",
    "Transform",
    "applied",
    "asked",
    "dense",
    "flow",
    "rows_of",
    "shaped",
    "token_logprobs",
    "unfit",
    "usual",
]

TINY, HUGE = 1e-30, 1e30  # what is smaller, or larger, float32 might not hold
PLAIN = frozenset({Tensor, torch.nn.Parameter})


class Transform(NamedTuple):
    """z = cap(scale * logit) / temperature, of every row whose target is not `ignored`."""

    temperature: float | Tensor
    softcap: float | None
    scale: float
    ignored: int


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
    """A z close to the row's largest, from which the others are reckoned; in a backend's own units, as is `logsum`."""
    logsum: Tensor
    """log of the sum of e^(z - largest)."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Said:
        spread = self.entropy if self.entropy is None else change(self.entropy)
        return Said(change(self.logp), spread, change(self.largest), change(self.logsum))

    def take(self, some: Tensor | slice) -> Said:
        return self.map(lambda one: one[some])


class Backend(Protocol):
    """Row kernels. Logits are [N,W], or [A,B,W] with N = A B, of f32, bf16 or f16, rows dense, at any distance.

    Sums are kept in f32.
    """

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
        if isinstance(number, int | float) and not TINY <= abs(number) <= HUGE:
            return f"takes a {name} between {TINY} and {HUGE}"
    if transformed() or forward_ad.unpack_dual(logits).tangent is not None:  # type: ignore[no-untyped-call]
        return "is not for torch.func and forward-mode differentiation"
    return None


def usual(logits: Tensor, temperature: float | Tensor, softcap: float | None, scale: float) -> bool:
    """Whether these are CPU tensors and numbers out of the ordinary in no way: a quick look, no with any doubt."""
    return (
        not torch.compiler.is_compiling()
        and not TURNED_OFF.get()
        and type(logits) in PLAIN
        and logits.is_cpu
        and type(temperature) is float
        and TINY <= temperature <= HUGE
        and type(scale) in (float, int)
        and TINY <= abs(scale) <= HUGE
        and (softcap is None or (type(softcap) in (float, int) and TINY <= softcap <= HUGE))
        and not transformed()
        and not WRAPPED(logits)
        and forward_ad._current_level < 0  # noqa: SLF001  no public question is as quick
    )


_TRANSFORMED = getattr(torch._C, "_are_functorch_transforms_active", None)  # noqa: SLF001  no public question is there


def transformed() -> bool:
    """Whether a transform of torch.func, such as vmap, is at work; yes where torch does not tell."""
    return _TRANSFORMED is None or bool(_TRANSFORMED())


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
    transform = Transform(temperature, softcap, scale, ignore_index)
    said = Logprobs.apply(logits, targets, transform, backend, entropy, inplace_backward)  # type: ignore[no-untyped-call]
    return (said[0], said[1]) if entropy else said[0]


def asked(targets: Tensor, temperature: float | Tensor, softcap: float | None, scale: float, ignore_index: int) -> Rows:
    """The targets [...] and what else is asked of their rows, one after the other."""
    each, common = None, temperature
    if isinstance(temperature, Tensor):
        each, common = temperature.float().resolve_neg().expand(targets.shape).reshape(-1).contiguous(), 1.0
    return Rows(targets.reshape(-1).contiguous(), ignore_index, float(common), scale, softcap or 0.0, each)


def shaped(said: Said, shape: torch.Size) -> tuple[Tensor, Tensor | None]:
    """Log-probs and entropies as no views: those that come out of a function of autograd, nobody could change."""
    return said.logp.view(shape).clone(), said.entropy if said.entropy is None else said.entropy.view(shape).clone()


def flow(slope: Tensor | None) -> Tensor | None:
    """A gradient as kernels read it: dense, and in memory, which zeros that autograd makes do not have."""
    there = slope if slope is None else slope.resolve_neg().contiguous()
    return there if there is None or there.data_ptr() or there.numel() == 0 else there.clone()


def dense(logits: Tensor) -> Tensor:
    """Rows [N,W] or [A,B,W] that are dense each, however far apart, and no two in one place."""
    apart, room = logits.stride(), logits.shape[-1]
    for axis in range(logits.ndim - 2, -1, -1):
        if logits.shape[axis] > 1 and apart[axis] < room:
            return logits.contiguous()
        room = max(room, apart[axis] * logits.shape[axis])
    return logits if apart[-1] == 1 or logits.shape[-1] <= 1 else logits.contiguous()


def rows_of(logits: Tensor) -> Tensor:
    """[..., W] as [N,W], or where that would take a copy as [A,B,W], if that does not."""
    if logits.ndim == 2:
        return logits
    flat: tuple[int, ...] = (logits.shape[:-1].numel(), logits.shape[-1])
    try:
        return logits.view(flat)
    except RuntimeError:
        return logits if logits.ndim == 3 else logits.reshape(flat)


class Logprobs(torch.autograd.Function):
    """logits [..., V] -> log-probs [...], entropies [...] or None."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        targets: Tensor,
        transform: Transform,
        backend: Backend,
        entropy: bool,
        inplace: bool,
    ) -> tuple[Tensor, Tensor | None]:
        at_once = getattr(backend, "at_once", None)  # what some can do for tensors that are nothing special
        said = at_once and at_once(logits, targets, transform, entropy, back=True)
        if said is None:
            told = backend.forward(dense(rows_of(logits)), asked(targets, *transform), entropy)
            said = *shaped(told, targets.shape), torch.stack([told.largest, told.logsum])
        ctx.transform, ctx.backend, ctx.inplace = transform, backend, inplace
        # Not the log-probs themselves, for whoever gets them may change them; temperatures, lest a change go unnoticed.
        each = transform.temperature if isinstance(transform.temperature, Tensor) else None
        ctx.save_for_backward(logits, targets, each, *said[1:])
        ctx.set_materialize_grads(False)
        return said[0], said[1]

    @staticmethod
    def backward(ctx: Any, of_logp: Tensor | None, of_entropy: Tensor | None) -> tuple[Tensor | None, ...]:
        logits, targets, _, entropy, told = ctx.saved_tensors
        if of_logp is None and of_entropy is None:
            return (None,) * 6
        # To be differentiated in its turn, or many gradients at once.
        if torch.is_grad_enabled() or transformed() or batched(of_logp) or batched(of_entropy):
            return _by_definition(logits, targets, ctx.transform, of_logp, of_entropy), *(None,) * 5
        slopes = [one if one is None else one.view(-1) for one in map(flow, (of_logp, of_entropy))]
        rows, its = asked(targets, *ctx.transform), rows_of(logits)
        spread = entropy if entropy is None else entropy.reshape(-1)
        said = Said(told[0], spread, told[0], told[1])  # the log-probs themselves are not asked
        if ctx.inplace and its.data_ptr() == logits.data_ptr() and dense(its) is its:
            ctx.backend.descend(its, rows, 0, said, slopes[0], slopes[1], its)
            torch.autograd.graph.increment_version(logits)  # whoever kept them for a gradient of his own is told
            return logits, *(None,) * 5
        gradient = fresh.paged(torch.empty_like(logits, memory_format=torch.contiguous_format))
        ctx.backend.descend(dense(its), rows, 0, said, slopes[0], slopes[1], gradient.view(its.shape))
        return gradient, *(None,) * 5


# Less than Logprobs.apply by 2 of 12 microseconds, in which that looks for what `usual` has found not to be there.
applied = super(torch.autograd.Function, Logprobs).apply


def _by_definition(logits: Tensor, targets: Tensor, transform: Transform, *slopes: Tensor | None) -> Tensor:
    """The gradient with respect to the logits, as something that can be differentiated."""
    temperature, softcap, scale, ignored = transform
    with torch.enable_grad():
        said = reference.token_logprobs(
            logits,
            targets,
            temperature=temperature,
            softcap=softcap,
            scale=scale,
            ignore_index=ignored,
            entropy=True,
        )
    outputs, weights = zip(*((o, w) for o, w in zip(said, slopes, strict=True) if w is not None), strict=True)
    gradient: Tensor = torch.autograd.grad(outputs, logits, weights, create_graph=torch.is_grad_enabled())[0]
    return gradient
