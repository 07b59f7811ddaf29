"""Log-probabilities and losses from hidden states and the output matrix, without the logits in between."""

from __future__ import annotations

from typing import Any, Literal, TypedDict, Unpack, overload

import torch
from torch import Tensor

from rlaif_kernels import arguments, operators, policy, rows
from rlaif_kernels.dispatch import Impl, choose
from rlaif_kernels.losses import Aggregation, Estimator, LinearPolicyLoss, Objective, Ratio, options_fit, policy_loss
from rlaif_kernels.reference.numbers import accumulation

__all__ = ["kept_logprobs", "linear_logprobs", "linear_policy_loss"]

Said = Tensor | tuple[Tensor, Tensor]


class Options(TypedDict, total=False):
    """Those of `linear_logprobs` but for `entropy`, which decides what comes back."""

    bias: Tensor | None
    temperature: float | Tensor
    softcap: float | None
    scale: float
    ignore_index: int
    impl: Impl


@overload
def linear_logprobs(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, entropy: Literal[False] = ..., **options: Unpack[Options]
) -> Tensor: ...
@overload
def linear_logprobs(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, entropy: Literal[True], **options: Unpack[Options]
) -> tuple[Tensor, Tensor]: ...
@overload
def linear_logprobs(
    hidden: Tensor, weight: Tensor, targets: Tensor, *, entropy: bool, **options: Unpack[Options]
) -> Said: ...
def linear_logprobs(
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
    impl: Impl = "auto",
) -> Said:
    """`token_logprobs` of the logits hidden @ weight.T + bias, of which few are held at a time.

    hidden [..., H], weight [V,H], targets [...] int64, bias [V] -> [...] float32 (float64 from float64), or a pair of
    them. Differentiable: up to 256 MiB of logits are kept for that, more are computed once more. Only rows whose target
    is not `ignore_index` are computed with. Autocast has no say: what shall be multiplied in half precision is given in
    it. Logits are never rounded; their gradients are, to the dtype of what they are multiplied with, on GPUs and where
    the CPU multiplies bfloat16 (AVX512_BF16), and are summed up in float32.

    >>> hidden, weight, targets = torch.ones(2, 3), torch.zeros(4, 3), torch.tensor([3, -100])
    >>> rk.linear_logprobs(hidden, weight, targets)
    tensor([-1.3863,  0.0000])
    """
    transform: dict[str, Any] = {"temperature": temperature, "softcap": softcap, "scale": scale}
    _head("linear_logprobs", hidden, weight, targets, bias, **transform, ignore_index=ignore_index)
    options = {"bias": bias, **transform, "ignore_index": ignore_index, "entropy": entropy}
    if torch.compiler.is_compiling() and (backend := operators.covering(impl, hidden, **transform)):
        return operators.linear_logprobs(backend, hidden, weight, targets, **options)
    unfit = rows.unfit(hidden, **transform)
    run = choose("linear_logprobs", impl, _tensors(hidden, weight, targets, bias, temperature), _everywhere(unfit))
    try:
        result: Said = run(hidden, weight, targets, **options)
    except (IndexError, RuntimeError):
        arguments.known("linear_logprobs", "targets", targets, len(weight), none=ignore_index)
        raise
    return result


def kept_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    kept: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    entropy: bool = False,
    impl: Impl = "auto",
) -> Said:
    """`linear_logprobs` renormalised over the tokens that a sampler kept at each position (top-k, top-p).

    kept [..., K] int32 or int64: their ids in any order, each once, filled up with -1. Only their rows of `weight` are
    read. A target that is not among them has the log-prob -inf.

    >>> hidden, weight, targets = torch.ones(2, 3), torch.zeros(4, 3), torch.tensor([3, 3])
    >>> rk.kept_logprobs(hidden, weight, targets, kept=torch.tensor([[3, 0, -1], [1, 2, 0]]))
    tensor([-0.6931,    -inf])
    """
    transform: dict[str, Any] = {"temperature": temperature, "softcap": softcap, "scale": scale}
    _head("kept_logprobs", hidden, weight, targets, bias, **transform, ignore_index=ignore_index)
    arguments.tensors("kept_logprobs", kept=kept)
    if kept.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"kept_logprobs: kept are token ids in int32 or int64, got {kept.dtype}")
    if kept.shape[:-1] != targets.shape:
        raise ValueError(
            f"kept_logprobs: kept {arguments.shape(kept)} do not go with targets {arguments.shape(targets)}"
        )
    arguments.same_device("kept_logprobs", hidden, kept=kept)
    unfit = rows.unfit(hidden, **transform)
    tensors = (*_tensors(hidden, weight, targets, bias, temperature), kept)
    run = choose("kept_logprobs", impl, tensors, _everywhere(unfit))
    options = {"bias": bias, **transform, "ignore_index": ignore_index, "entropy": entropy}
    try:
        result: Said = run(hidden, weight, targets, kept.long(), **options)
    except (IndexError, RuntimeError):
        arguments.known("kept_logprobs", "kept", kept, len(weight), none=None, remedy="fill up with -1")
        raise
    return result


def linear_policy_loss(
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
    objective: Objective = "clip",
    ratio: Ratio = "token",
    low: float = 0.2,
    high: float = 0.2,
    dual: float | None = None,
    aggregation: Aggregation | Tensor = "token_mean",
    length: int | None = None,
    reference: Tensor | None = None,
    kl: float = 0.0,
    kl_value: Estimator = "k3",
    kl_gradient: Estimator = "k2",
    entropy_weight: float = 0.0,
    correction: Tensor | None = None,
    impl: Impl = "auto",
) -> LinearPolicyLoss:
    """`policy_loss` of `linear_logprobs`, with the gradients of `hidden`, `weight` and `bias` found on the way.

    hidden [B,T,H], weight [V,H], targets [B,T] int64 (read where `mask`), the rest as in `policy_loss`. -> loss and
    metrics, and the log-probs and entropies [B,T], detached. Three matrix products in all, where those who compute the
    logits once more for the gradient need four, as it does for the ratio "sequence" and in float16; rows whose gradient
    is exactly 0 (masked, clipped, without advantage) take part in the first alone. Differentiable once.

    >>> hidden, weight, targets = torch.ones(1, 2, 3, requires_grad=True), torch.zeros(4, 3), torch.tensor([[3, 0]])
    >>> old_logp, advantages, mask = torch.full((1, 2), 0.25).log(), torch.ones(1, 2), torch.tensor([[True, True]])
    >>> rk.linear_policy_loss(hidden, weight, targets, old_logp, advantages, mask).loss.backward()
    """
    tensors = {
        "targets": targets,
        "old_logp": old_logp,
        "advantages": advantages,
        "reference": reference,
        "correction": correction,
        "aggregation": aggregation if isinstance(aggregation, Tensor) else None,
    }
    arguments.tensors("linear_policy_loss", old_logp=old_logp, advantages=advantages, mask=mask)
    if mask.ndim != 2:
        raise ValueError(f"linear_policy_loss: mask must be [B,T], got {arguments.shape(mask)}")
    arguments.matching("linear_policy_loss", mask, **tensors)
    arguments.flags("linear_policy_loss", mask=mask)
    transform: dict[str, Any] = {"temperature": temperature, "softcap": softcap, "scale": scale}
    _head("linear_policy_loss", hidden, weight, targets, bias, **transform)
    options: dict[str, Any] = {
        "objective": objective,
        "ratio": ratio,
        "low": low,
        "high": high,
        "dual": dual,
        "aggregation": aggregation,
        "length": length,
        "reference": reference,
        "kl": kl,
        "kl_value": kl_value,
        "kl_gradient": kl_gradient,
        "entropy_weight": entropy_weight,
        "correction": correction,
    }
    options_fit("linear_policy_loss", options)
    if torch.compiler.is_compiling() and (backend := operators.covering(impl, hidden, *tensors.values(), **transform)):
        # Not in Triton, which has no loss of its own: torch's cannot be differentiated inside of an operator.
        if backend != "triton" and not policy.later(hidden, ratio):
            options |= {"old_logp": old_logp, "advantages": advantages, "mask": mask}
            return operators.linear_policy_loss(backend, hidden, weight, targets, bias=bias, **transform, **options)
        # As it is defined, by operators, so that a graph does not hold all logits either.
        asked = targets.where(mask, -100)
        logp, entropy = linear_logprobs(hidden, weight, asked, bias=bias, **transform, entropy=True, impl=impl)
        said = policy_loss(logp, old_logp, advantages, mask, entropy=entropy, **options)
        return LinearPolicyLoss(*said, logp.detach(), entropy.detach())
    unfit = rows.unfit(hidden, **transform)
    given = (*_tensors(hidden, weight, targets, bias, temperature), mask, *tensors.values())
    narrow = "computes in float32 and got float64" if accumulation(*tensors.values()) == torch.float64 else None
    run = choose("linear_policy_loss", impl, given, {**_everywhere(unfit), "native": unfit or narrow})
    head = {"bias": bias, **transform}
    try:
        result: LinearPolicyLoss = run(hidden, weight, targets, old_logp, advantages, mask, **head, **options)
    except (IndexError, RuntimeError):
        asked, remedy = targets.where(mask, -100), "where nothing is asked, mask must be False"
        arguments.known("linear_policy_loss", "targets", asked, len(weight), none=-100, remedy=remedy)
        raise
    return result


def _head(
    operation: str,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    bias: Tensor | None,
    *,
    temperature: float | Tensor,
    softcap: float | None,
    scale: float,
    ignore_index: int = -100,
) -> None:
    """Hidden states, the output matrix and its bias, and what is asked go together."""
    shape = arguments.shape
    arguments.predicted(operation, "hidden", hidden, targets)
    arguments.tensors(operation, weight=weight, **({} if bias is None else {"bias": bias}))
    if weight.ndim != 2 or weight.shape[1:] != hidden.shape[-1:]:
        raise ValueError(f"{operation}: weight must be [V,{hidden.shape[-1]}], got {shape(weight)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"{operation}: bias must be [{len(weight)}], got {shape(bias)}")
    if weight.dtype != hidden.dtype:
        raise TypeError(f"{operation}: weight is {weight.dtype} but hidden {hidden.dtype}")
    if bias is not None and bias.dtype != weight.dtype:
        raise TypeError(f"{operation}: bias is {bias.dtype} but weight {weight.dtype}")
    arguments.same_device(operation, hidden, weight=weight, bias=bias)
    arguments.transform(operation, targets, temperature, softcap, scale, ignore_index)


def _tensors(*given: object) -> tuple[Tensor | None, ...]:
    return tuple(one if isinstance(one, Tensor) else None for one in given)


def _everywhere(unfit: str | None) -> dict[str, str | None]:
    """What is not for a row kernel is for none of the backends."""
    return {"native": unfit, "cuda": unfit, "triton": unfit}
