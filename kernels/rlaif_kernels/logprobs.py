"""Log-probabilities and entropies of tokens, from their logits."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, Unpack, overload

import torch
from torch import Tensor, distributed

from rlaif_kernels import arguments, operators, rows
from rlaif_kernels.dispatch import Impl, ImplementationError, choose, quick

__all__ = ["sharded_logprobs", "token_logprobs"]

Said = Tensor | tuple[Tensor, Tensor]


class Options(TypedDict, total=False):
    """Those of `token_logprobs` but for `entropy`, which decides what comes back."""

    inplace_backward: bool
    temperature: float | Tensor
    softcap: float | None
    scale: float
    ignore_index: int
    impl: Impl


@overload
def token_logprobs(
    logits: Tensor, targets: Tensor, *, entropy: Literal[False] = ..., **options: Unpack[Options]
) -> Tensor: ...
@overload
def token_logprobs(
    logits: Tensor, targets: Tensor, *, entropy: Literal[True], **options: Unpack[Options]
) -> tuple[Tensor, Tensor]: ...
@overload
def token_logprobs(logits: Tensor, targets: Tensor, *, entropy: bool, **options: Unpack[Options]) -> Said: ...
def token_logprobs(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    entropy: bool = False,
    inplace_backward: bool = False,
    impl: Impl = "auto",
) -> Said:
    """Log-probability of each target, and on request the entropy of each distribution, in nats.

    logits [..., V], targets [...] int64 -> [...] float32 (float64 from float64), or a pair of them. Differentiable.
    z = cap(scale * logits) / temperature, cap(u) = softcap * tanh(u / softcap); `temperature` is a number or [...],
    above 0. Where the target is `ignore_index` the result is 0 and no gradient flows, whatever the logits hold.

    With `inplace_backward` the gradient takes the place of the logits, so that nothing of their size is allocated: they
    are lost, a second backward pass raises an error, and so does whoever else needs them for a gradient.
    A target outside the vocabulary is an IndexError on the CPU; on a GPU, which is not waited for, its log-prob is NaN.

    >>> rk.token_logprobs(torch.zeros(2, 4), torch.tensor([3, -100]), entropy=True)
    (tensor([-1.3863,  0.0000]), tensor([1.3863, 0.0000]))
    """
    native = (
        quick("logprobs") if impl in ("auto", "native") and rows.usual(logits, temperature, softcap, scale) else None
    )
    if native and not (logits.requires_grad and torch.is_grad_enabled()):
        try:
            said = native.at_once(logits, targets, (temperature, softcap, scale, ignore_index), entropy, back=False)
        except (TypeError, ImplementationError):
            said = None  # what is wrong is said below
        if said is not None:
            return said[:2] if entropy else said[0]  # type: ignore[no-any-return]
    arguments.predicted("token_logprobs", "logits", logits, targets)
    if native and native.takes(logits, targets) and type(ignore_index) is int:
        transform = rows.Transform(temperature, softcap, scale, ignore_index)
        try:
            found = rows.applied(logits, targets, transform, native, entropy, inplace_backward)  # type: ignore[no-untyped-call]
            return found if entropy else found[0]  # type: ignore[no-any-return]
        except IndexError:
            arguments.known("token_logprobs", "targets", targets, logits.shape[-1], none=ignore_index)
            raise
        except ImplementationError:
            pass  # another may
    arguments.transform("token_logprobs", targets, temperature, softcap, scale, ignore_index)
    tensors = (logits, targets, temperature if isinstance(temperature, Tensor) else None)
    numbers: dict[str, Any] = {"temperature": temperature, "softcap": softcap, "scale": scale}
    options = {**numbers, "ignore_index": ignore_index, "entropy": entropy, "inplace_backward": inplace_backward}
    if torch.compiler.is_compiling() and (backend := operators.covering(impl, logits, **numbers)):
        return operators.token_logprobs(backend, logits, targets, **options)
    unfit = rows.unfit(logits, **numbers)
    run = choose("token_logprobs", impl, tensors, {"native": unfit, "cuda": unfit, "triton": unfit})
    try:
        result: Said = run(logits, targets, **options)
    except (IndexError, RuntimeError):
        arguments.known("token_logprobs", "targets", targets, logits.shape[-1], none=ignore_index)
        raise
    return result


def sharded_logprobs(
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
    impl: Impl = "auto",
) -> Said:
    """`token_logprobs` of logits whose vocabulary is cut up between the processes of a `torch.distributed` group.

    logits [..., W]: this process's columns, of the tokens `first`, `first` + 1, ...; targets [...]: ids in the whole
    vocabulary, the same in every process. Every process gets the whole result, and the gradient of its own logits, so
    that a loss made of it must be counted once. What is exchanged are four numbers a position, once. A target outside
    the vocabulary has the log-prob NaN: an error in one process would leave the others waiting for it.

    >>> first = torch.distributed.get_rank() * 1000  # doctest: +SKIP
    >>> rk.sharded_logprobs(logits[..., first : first + 1000], targets, first=first)  # doctest: +SKIP
    """
    arguments.predicted("sharded_logprobs", "logits", logits, targets)
    if not distributed.is_initialized():
        raise RuntimeError("sharded_logprobs: torch.distributed.init_process_group was not called")
    arguments.transform("sharded_logprobs", targets, temperature, softcap, scale, ignore_index)
    arguments.number("sharded_logprobs", "first", first, least=0)
    tensors = (logits, targets, temperature if isinstance(temperature, Tensor) else None)
    transform: dict[str, Any] = {"temperature": temperature, "softcap": softcap, "scale": scale}
    unfit = rows.unfit(logits, **transform)
    run = choose("sharded_logprobs", impl, tensors, {"native": unfit, "cuda": unfit, "triton": unfit})
    result: Said = run(
        logits, targets, first=first, group=group, **transform, ignore_index=ignore_index, entropy=entropy
    )
    return result
