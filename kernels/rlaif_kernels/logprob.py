"""`reference.token_logprobs` in C++, with its gradient: all of a row is done while it is in the processor's cache.

Nothing of the logits' size is made but their gradient. A row's numbers depend neither on the other rows nor on the
number of threads, which are torch's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from rlaif_kernels import native, reference
from rlaif_kernels.native import address

__all__ = ["token_logprobs", "unfit"]

TINY = 1e-30  # what is smaller, or larger than its inverse, float32 might not hold


def unfit(logits: Tensor, **numbers: float | Tensor | None) -> str | None:
    """Why these logits with this temperature, scale and softcap cannot be computed here; None if they can."""
    if torch.compiler.is_compiling() or not logits.is_cpu:
        return "runs on the CPU alone, and not for torch.compile"  # asked first, for the rest waits for a device
    if logits.dtype != torch.float32:
        return f"needs float32 logits and got {logits.dtype}"
    for name, number in numbers.items():
        if isinstance(number, Tensor) and (name != "temperature" or number.requires_grad):
            return f"has no gradient with respect to the {name}"
        ends = (number,) if not isinstance(number, Tensor) else number.aminmax() if number.numel() else ()
        if not all(end is None or TINY <= abs(float(end)) <= 1 / TINY for end in ends):
            return f"takes a {name} between {TINY} and {1 / TINY}"
    if _transformed() or unpack_dual(logits).tangent is not None:  # type: ignore[no-untyped-call]
        return "is not for torch.func and forward-mode differentiation"
    return None


def _transformed() -> bool:
    """Whether a transform of torch.func, such as vmap, is at work; yes where torch does not tell."""
    told = getattr(torch._C, "_are_functorch_transforms_active", None)  # noqa: SLF001  there is no public question
    return told is None or bool(told())


def _batched(tensor: Tensor | None) -> bool:
    """Whether it stands for many, as with `is_grads_batched=True`; yes where torch does not tell."""
    told = getattr(torch._C._functorch, "is_legacy_batchedtensor", None)  # noqa: SLF001  there is no public question
    return tensor is not None and (told is None or bool(told(tensor)))


def token_logprobs(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    entropy: bool = False,
    variant: str = "",
) -> Tensor | tuple[Tensor, Tensor]:
    """As defined, for what is not `unfit`. variant: one of `native.binary.variants()`, by default the first."""
    vocabulary = logits.shape[-1]
    astray = ((targets < 0) | (targets >= vocabulary)) & (targets != ignore_index)
    if bool(astray.any()):
        raise IndexError(f"token_logprobs: target {int(targets[astray][0])} is not in a vocabulary of {vocabulary}")
    each, common = None, temperature
    if isinstance(temperature, Tensor):
        each, common = temperature.float().resolve_neg().expand(targets.shape).reshape(-1).contiguous(), 1.0
    options = {
        "temperature": common,
        "scale": scale,
        "cap": softcap or 0.0,
        "ignored": ignore_index,
        "variant": variant,
    }
    rows = logits.reshape(targets.numel(), vocabulary)
    said = _Logprobs.apply(rows, targets.reshape(-1), each, options, entropy)  # type: ignore[no-untyped-call]
    logp: Tensor = said[0].view(targets.shape)
    return (logp, said[1].view(targets.shape)) if entropy else logp


class _Logprobs(torch.autograd.Function):
    """[N,V], [N], [N] or None -> log-probs [N], entropies [N] or None, and what the way back needs, [N] each."""

    @staticmethod
    def forward(
        logits: Tensor, targets: Tensor, temperatures: Tensor | None, options: dict[str, Any], entropy: bool
    ) -> tuple[Tensor | None, ...]:
        logp, largest, logsums = (logits.new_empty(len(logits)) for _ in range(3))
        spread = torch.empty_like(logp) if entropy else None
        logits, targets = _rows(logits), targets.contiguous()
        native.binary.logprobs_forward(
            **_given(logits, targets, temperatures, options),
            logprobs=address(logp),
            entropies=address(spread),
            largest=address(largest),
            logsums=address(logsums),
        )
        return logp, spread, largest, logsums

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        logits, targets, temperatures, ctx.options, _ = inputs
        _, spread, largest, logsums = output
        ctx.save_for_backward(logits, targets, temperatures, spread, largest, logsums)
        ctx.mark_non_differentiable(largest, logsums)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, of_logp: Tensor | None, of_spread: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        logits, targets, temperatures, spread, largest, logsums = ctx.saved_tensors
        if of_logp is None and of_spread is None:
            return (None,) * 5
        # To be differentiated in its turn, or many gradients at once.
        if torch.is_grad_enabled() or _transformed() or any(map(_batched, (of_logp, of_spread))):
            return _by_definition(ctx, of_logp, of_spread), None, None, None, None
        gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
        logits, targets = _rows(logits), targets.contiguous()
        of_logp, of_spread = (one if one is None else one.resolve_neg().contiguous() for one in (of_logp, of_spread))
        native.binary.logprobs_backward(
            **_given(logits, targets, temperatures, ctx.options),
            entropies=address(spread),
            largest=address(largest),
            logsums=address(logsums),
            of_logprobs=address(of_logp),
            of_entropies=address(of_spread),
            gradient=address(gradient),
        )
        return gradient, None, None, None, None


def _by_definition(ctx: Any, *slopes: Tensor | None) -> Tensor:
    """The gradient with respect to the logits, as something that can be differentiated."""
    logits, targets, temperatures, *_ = ctx.saved_tensors
    with torch.enable_grad():
        said = reference.token_logprobs(
            logits,
            targets,
            temperature=ctx.options["temperature"] if temperatures is None else temperatures,
            softcap=ctx.options["cap"] or None,
            scale=ctx.options["scale"],
            ignore_index=ctx.options["ignored"],
            entropy=True,
        )
    outputs, weights = zip(*((o, w) for o, w in zip(said, slopes, strict=True) if w is not None), strict=True)
    gradient: Tensor = torch.autograd.grad(outputs, logits, weights, create_graph=torch.is_grad_enabled())[0]
    return gradient


def _rows(logits: Tensor) -> Tensor:
    """Rows that are dense each, however far apart."""
    return logits if logits.stride(1) == 1 and logits.stride(0) >= logits.shape[1] else logits.contiguous()


def _given(logits: Tensor, targets: Tensor, temperatures: Tensor | None, options: dict[str, Any]) -> dict[str, Any]:
    """What both ways are told; the caller keeps the tensors alive."""
    return {
        **options,
        "logits": address(logits),
        "stride": logits.stride(0),
        "rows": logits.shape[0],
        "vocabulary": logits.shape[1],
        "targets": address(targets),
        "temperatures": address(temperatures),
        "threads": torch.get_num_threads(),
    }
