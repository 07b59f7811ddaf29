"""Operators on rows of logits, materialised or not. `backend` is the name of the one whose kernels run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import arguments, chunked, fresh
from rlaif_kernels.head import Gradients, Head
from rlaif_kernels.operators.registry import define, part
from rlaif_kernels.rows import Rows, Said, asked, dense

__all__ = ["HEAD", "ROWS", "linear_logprobs", "token_logprobs"]

ROWS = "Tensor targets, Tensor? temperatures, int ignored, float temperature, float scale, float softcap, str backend"
SAID = "Tensor logp, Tensor entropy, Tensor largest, Tensor logsum"
SLOPES = "Tensor? of_logp, Tensor? of_entropy"


def _said(said: Said) -> tuple[Tensor, ...]:
    return tuple(one for one in said if one is not None)


def _logprobs(logits: Tensor, targets: Tensor, temperatures: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    *numbers, backend = rest
    rows = Rows(*(targets, *numbers, temperatures))
    try:
        return _said(part(backend, "logprobs").forward(dense(logits), rows, True))
    except IndexError:
        arguments.known("token_logprobs", "targets", targets, logits.shape[-1], none=rows.ignored)
        raise


def _logprobs_fake(logits: Tensor, targets: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return tuple(logits.new_empty(targets.shape, dtype=torch.float32) for _ in range(4))


def _logprobs_descend(logits: Tensor, targets: Tensor, temperatures: Tensor | None, *rest: Any) -> Tensor:
    numbers, backend, said = rest[:4], rest[4], rest[5:9]
    slopes = [one if one is None else one.contiguous() for one in rest[9:]]
    gradient = fresh.paged(torch.empty_like(logits, memory_format=torch.contiguous_format))
    rows = Rows(*(targets, *numbers, temperatures))
    part(backend, "logprobs").descend(dense(logits), rows, 0, Said(*said), *slopes, gradient)
    return gradient


def _logprobs_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, targets, temperatures, *ctx.rest = inputs
    ctx.save_for_backward(logits, targets, temperatures, *output)
    ctx.set_materialize_grads(False)


def _logprobs_backward(ctx: Any, of_logp: Tensor | None, of_entropy: Tensor | None, *_: Any) -> tuple[Any, ...]:
    logits, targets, temperatures, *said = ctx.saved_tensors
    found = torch.ops.rlaif.token_logprobs_backward(
        logits, targets, temperatures, *ctx.rest, *said, of_logp, of_entropy
    )
    return found, *(None,) * 7


define(
    "token_logprobs",
    f"Tensor logits, {ROWS}",
    "(Tensor, Tensor, Tensor, Tensor)",
    _logprobs,
    _logprobs_fake,
    (_logprobs_backward, _logprobs_setup),
)
define(
    "token_logprobs_backward",
    f"Tensor logits, {ROWS}, {SAID}, {SLOPES}",
    "Tensor",
    _logprobs_descend,
    lambda logits, *_: torch.empty_like(logits, memory_format=torch.contiguous_format),
)


def token_logprobs(
    backend: str,
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor,
    softcap: float | None,
    scale: float,
    ignore_index: int,
    entropy: bool,
    inplace_backward: bool,  # noqa: ARG001  a graph has its own planning of memory
) -> Tensor | tuple[Tensor, Tensor]:
    rows = asked(targets, temperature, softcap, scale, ignore_index)
    flat = logits.reshape(-1, logits.shape[-1])
    logp, spread, *_ = torch.ops.rlaif.token_logprobs(flat, rows.targets, rows.temperatures, *rows[1:5], backend)
    return (logp.view(targets.shape), spread.view(targets.shape)) if entropy else logp.view(targets.shape)


# ---- log-probabilities of a linear layer


def _linear(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    temperatures, *numbers, backend = rest
    rows, kernels = Rows(*(targets, *numbers, temperatures)), part(backend, "logprobs")
    try:
        kernels.check(rows, len(weight))
    except IndexError:
        arguments.known("linear_logprobs", "targets", targets, len(weight), none=rows.ignored)
        raise
    which = chunked.kept(rows.targets != rows.ignored)
    its, asked_of = chunked.taken(hidden, which), rows.take(which)
    if backend == "triton" and len(its) > 0:
        said = part(backend, "linear").forward(its, weight, bias, asked_of, True)
    else:
        said = chunked.forward(kernels, its, Head(weight, bias), asked_of, True)
    return _said(said.map(lambda one: chunked.spread(one, which, len(hidden))))


def _linear_fake(hidden: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return tuple(hidden.new_empty(hidden.shape[:1], dtype=torch.float32) for _ in range(4))


def _linear_descend(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, temperatures: Tensor | None, *rest: Any
) -> list[Tensor]:
    numbers, backend, said = rest[:4], rest[4], rest[5:9]
    slopes = [one if one is None else one.contiguous() for one in rest[9:]]
    gradients = Gradients.zeros(hidden, Head(weight, bias), (True, True, bias is not None))
    rows = Rows(*(targets, *numbers, temperatures))
    flat = chunked.cleared(hidden, rows)
    chunked.descend(part(backend, "logprobs"), flat, Head(weight, bias), rows, Said(*said), slopes, gradients)
    return [one for one in gradients.like(hidden) if one is not None]


def _linear_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, bias, targets, temperatures, *ctx.rest = inputs
    ctx.save_for_backward(hidden, weight, bias, targets, temperatures, *output)
    ctx.set_materialize_grads(False)


def _linear_backward(ctx: Any, of_logp: Tensor | None, of_entropy: Tensor | None, *_: Any) -> tuple[Any, ...]:
    *given, logp, entropy, largest, logsum = ctx.saved_tensors
    found = torch.ops.rlaif.linear_logprobs_backward(
        *given, *ctx.rest, logp, entropy, largest, logsum, of_logp, of_entropy
    )
    return *found, *[None] * (3 - len(found)), *(None,) * 7


HEAD = "Tensor hidden, Tensor weight, Tensor? bias"
define(
    "linear_logprobs",
    f"{HEAD}, {ROWS}",
    "(Tensor, Tensor, Tensor, Tensor)",
    _linear,
    _linear_fake,
    (_linear_backward, _linear_setup),
)
define(
    "linear_logprobs_backward",
    f"{HEAD}, {ROWS}, {SAID}, {SLOPES}",
    "Tensor[]",
    _linear_descend,
    lambda hidden, weight, bias, *_: [torch.empty_like(one) for one in (hidden, weight, bias) if one is not None],
)


def linear_logprobs(
    backend: str,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None,
    temperature: float | Tensor,
    softcap: float | None,
    scale: float,
    ignore_index: int,
    entropy: bool,
) -> Tensor | tuple[Tensor, Tensor]:
    rows = asked(targets, temperature, softcap, scale, ignore_index)
    flat = hidden.reshape(-1, hidden.shape[-1])
    logp, spread, *_ = torch.ops.rlaif.linear_logprobs(
        flat, weight, bias, rows.targets, rows.temperatures, *rows[1:5], backend
    )
    return (logp.view(targets.shape), spread.view(targets.shape)) if entropy else logp.view(targets.shape)
