"""The kernels as operators of torch, which a compiler can put into a graph without looking inside.

Only what is being traced comes here: an operator's call takes several microseconds longer than a plain function's.
Registered are kernels that get bare addresses; definitions in plain torch are traced as they are.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.library import Library

from rlaif_kernels import arguments, chunked, native
from rlaif_kernels.dispatch import plain
from rlaif_kernels.head import Gradients, Head
from rlaif_kernels.loss_options import arranged
from rlaif_kernels.reference.losses import METRICS, PolicyLoss
from rlaif_kernels.reference.numbers import accumulation
from rlaif_kernels.rows import Rows, Said, asked, dense

__all__ = ["covers", "gae", "linear_logprobs", "policy_loss", "token_logprobs", "vtrace"]

LIBRARY = Library("rlaif", "DEF")  # type: ignore[no-untyped-call]
ROWS = "Tensor targets, Tensor? temperatures, int ignored, float temperature, float scale, float softcap"
SAID = "Tensor logp, Tensor entropy, Tensor largest, Tensor logsum"
SLOPES = "Tensor? of_logp, Tensor? of_entropy"


def covers(tensor: Tensor, impl: str, *others: Tensor | None, **numbers: float | Tensor | None) -> bool:
    """Whether what is being traced shall go through here: in f32, bf16 or f16, on the CPU, where the binary is.

    Not where another tensor makes it f64, where a gradient with respect to the temperature may be wanted, or a tensor
    stands for another number.
    """
    wanted = impl == "native" or (impl == "auto" and not plain())
    if not wanted or native.missing is not None or not tensor.is_cpu:
        return False
    for name, one in numbers.items():
        if isinstance(one, Tensor) and (name != "temperature" or one.requires_grad):
            return False
    return tensor.dtype in native.KINDS and accumulation(*others) == torch.float32


def define(
    name: str, given: str, results: str, run: Callable[..., Any], fake: Callable[..., Any], autograd: Any = None
) -> None:
    LIBRARY.define(f"{name}({given}) -> {results}", tags=torch.Tag.pt2_compliant_tag)  # type: ignore[no-untyped-call]
    LIBRARY.impl(name, run, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"rlaif::{name}", fake, lib=LIBRARY)
    if autograd is not None:
        backward, setup = autograd
        torch.library.register_autograd(f"rlaif::{name}", backward, setup_context=setup, lib=LIBRARY)


def _backend(topic: str) -> Any:
    return importlib.import_module(f"rlaif_kernels.native.{topic}")


def _said(said: Said) -> tuple[Tensor, ...]:
    """As tensors that share no memory, as results of an operator must."""
    return tuple(one.clone() for one in said if one is not None)


# ---- log-probabilities


def _logprobs(logits: Tensor, targets: Tensor, temperatures: Tensor | None, *numbers: Any) -> tuple[Tensor, ...]:
    rows = Rows(*(targets, *numbers, temperatures))
    try:
        return _said(_backend("logprobs").forward(dense(logits), rows, True))
    except IndexError:
        arguments.known("token_logprobs", "targets", targets, logits.shape[-1], none=rows.ignored)
        raise


def _logprobs_fake(logits: Tensor, targets: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return tuple(logits.new_empty(targets.shape, dtype=torch.float32) for _ in range(4))


def _logprobs_descend(logits: Tensor, targets: Tensor, temperatures: Tensor | None, *rest: Any) -> Tensor:
    numbers, said, slopes = rest[:4], rest[4:8], [one if one is None else one.contiguous() for one in rest[8:]]
    gradient = torch.empty_like(logits, memory_format=torch.contiguous_format)
    rows = Rows(*(targets, *numbers, temperatures))
    _backend("logprobs").descend(dense(logits), rows, 0, Said(*said), *slopes, gradient)
    return gradient


def _logprobs_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, targets, temperatures, *ctx.numbers = inputs
    ctx.save_for_backward(logits, targets, temperatures, *output)
    ctx.set_materialize_grads(False)


def _logprobs_backward(ctx: Any, of_logp: Tensor | None, of_entropy: Tensor | None, *_: Any) -> tuple[Any, ...]:
    logits, targets, temperatures, *said = ctx.saved_tensors
    found = torch.ops.rlaif.token_logprobs_backward(
        logits, targets, temperatures, *ctx.numbers, *said, of_logp, of_entropy
    )
    return found, *(None,) * 6


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
    logp, spread, *_ = torch.ops.rlaif.token_logprobs(flat, rows.targets, rows.temperatures, *rows[1:5])
    return (logp.view(targets.shape), spread.view(targets.shape)) if entropy else logp.view(targets.shape)


# ---- log-probabilities of a linear layer


def _linear(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    temperatures, *numbers = rest
    rows, backend = Rows(*(targets, *numbers, temperatures)), _backend("logprobs")
    try:
        backend.check(rows, len(weight))
    except IndexError:
        arguments.known("linear_logprobs", "targets", targets, len(weight), none=rows.ignored)
        raise
    which = chunked.kept(rows.targets != rows.ignored)
    said = chunked.forward(backend, chunked.taken(hidden, which), Head(weight, bias), rows.take(which), True)
    return _said(said.map(lambda one: chunked.spread(one, which, len(hidden))))


def _linear_fake(hidden: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return tuple(hidden.new_empty(hidden.shape[:1], dtype=torch.float32) for _ in range(4))


def _linear_descend(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, temperatures: Tensor | None, *rest: Any
) -> list[Tensor]:
    numbers, said, slopes = rest[:4], rest[4:8], [one if one is None else one.contiguous() for one in rest[8:]]
    gradients = Gradients.zeros(hidden, Head(weight, bias), (True, True, bias is not None))
    rows = Rows(*(targets, *numbers, temperatures))
    chunked.descend(_backend("logprobs"), hidden, Head(weight, bias), rows, Said(*said), slopes, gradients)
    given = zip(gradients, (hidden, weight, bias), strict=True)
    return [one.to(like.dtype) for one, like in given if one is not None and like is not None]


def _linear_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    hidden, weight, bias, targets, temperatures, *ctx.numbers = inputs
    ctx.save_for_backward(hidden, weight, bias, targets, temperatures, *output)
    ctx.set_materialize_grads(False)


def _linear_backward(ctx: Any, of_logp: Tensor | None, of_entropy: Tensor | None, *_: Any) -> tuple[Any, ...]:
    *given, logp, entropy, largest, logsum = ctx.saved_tensors
    found = torch.ops.rlaif.linear_logprobs_backward(
        *given, *ctx.numbers, logp, entropy, largest, logsum, of_logp, of_entropy
    )
    return *found, *[None] * (3 - len(found)), *(None,) * 6


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
    logp, spread, *_ = torch.ops.rlaif.linear_logprobs(flat, weight, bias, rows.targets, rows.temperatures, *rows[1:5])
    return (logp.view(targets.shape), spread.view(targets.shape)) if entropy else logp.view(targets.shape)


# ---- scans


def _scan(name: str) -> Callable[..., tuple[Tensor, Tensor]]:
    def run(tensors: Sequence[Tensor | None], names: str, numbers: Sequence[float]) -> tuple[Tensor, Tensor]:
        given = dict(zip(names.split(","), [*tensors, *numbers], strict=True))
        return getattr(_backend("scans"), name)(**given)  # type: ignore[no-any-return]

    return run


def _scan_fake(tensors: Sequence[Tensor | None], *_: Any) -> tuple[Tensor, Tensor]:
    like = tensors[0]
    assert like is not None
    return like.new_empty(like.shape, dtype=torch.float32), like.new_empty(like.shape, dtype=torch.float32)


for scan in ("gae", "vtrace"):
    define(scan, "Tensor?[] tensors, str names, float[] numbers", "(Tensor, Tensor)", _scan(scan), _scan_fake)


def _called(name: str, **given: Any) -> tuple[Tensor, Tensor]:
    tensors = {k: v for k, v in given.items() if v is None or isinstance(v, Tensor)}
    numbers = {k: float(v) for k, v in given.items() if k not in tensors}
    values = [one if one is None else one.detach() for one in tensors.values()]
    first, second = getattr(torch.ops.rlaif, name)(values, ",".join([*tensors, *numbers]), list(numbers.values()))
    return first, second


gae, vtrace = partial(_called, "gae"), partial(_called, "vtrace")


# ---- the policy loss


def _loss(logp: Tensor, entropy: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    *given, options = rest
    # What came through a schema as numbers of one kind.
    kind, length, flags, estimators = int(options[0]), options[1], map(bool, options[2:4]), map(int, options[9:])
    said = _backend("losses").measured(logp, entropy, given, (kind, length, *flags, *options[4:9], *estimators))
    loss, metrics, of_logp, of_entropy = said
    return loss.clone(), metrics.clone(), of_logp, torch.zeros_like(of_logp) if of_entropy is None else of_entropy


def _loss_fake(logp: Tensor, *_: Any) -> tuple[Tensor, ...]:
    shapes = ((), (len(METRICS),), logp.shape, logp.shape)
    return tuple(logp.new_empty(shape, dtype=torch.float32) for shape in shapes)


def _loss_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.dtypes = inputs[0].dtype, None if inputs[1] is None else inputs[1].dtype
    ctx.save_for_backward(*output[2:])


def _loss_backward(ctx: Any, of_loss: Tensor, *_: Any) -> tuple[Any, ...]:
    found = [
        None if dtype is None else (of_loss * one).to(dtype)
        for one, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)
    ]
    return *found, *(None,) * 7


define(
    "policy_loss",
    "Tensor logp, Tensor? entropy, Tensor old_logp, Tensor advantages, Tensor mask, Tensor? reference, "
    "Tensor? correction, Tensor? weights, float[] options",
    "(Tensor, Tensor, Tensor, Tensor)",
    _loss,
    _loss_fake,
    (_loss_backward, _loss_setup),
)


def policy_loss(logp: Tensor, entropy: Tensor | None, **of: Any) -> PolicyLoss:
    given, options = arranged(of)
    detached = [one if one is None else one.detach() for one in given]
    loss, metrics, *_ = torch.ops.rlaif.policy_loss(logp, entropy, *detached, [float(one) for one in options])
    return PolicyLoss(loss, metrics)
