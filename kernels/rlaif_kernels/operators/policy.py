"""The operator that finds a policy loss and its gradients straight from hidden states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import arguments, chunked, policy
from rlaif_kernels.head import Head
from rlaif_kernels.operators.registry import define, part
from rlaif_kernels.operators.rows import HEAD, ROWS
from rlaif_kernels.reference.losses import METRICS, LinearPolicyLoss, token_weights
from rlaif_kernels.rows import Rows, asked

__all__ = ["linear_policy_loss"]

# As in the schema, which is in this order: the tensors of the tokens, and the options of the loss.
TOKENS = ("old_logp", "advantages", "mask", "aggregation", "reference", "correction")
OPTIONS = ("objective", "ratio", "low", "high", "dual", "kl", "kl_value", "kl_gradient", "entropy_weight")


def _policy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, temperatures: Tensor | None, *rest: Any
) -> tuple[Tensor, ...]:
    numbers, backend, *others, wanted = rest[:4], *rest[4:]
    tokens, options = dict(zip(TOKENS, others, strict=False)), dict(zip(OPTIONS, others[len(TOKENS) :], strict=True))
    kernels, loss = part(backend, "linear").linear_policy_loss.args
    rows = Rows(*(targets, *numbers, temperatures))
    try:
        kernels.check(rows, len(weight))
    except IndexError:
        remedy = "where nothing is asked, mask must be False"
        arguments.known("linear_policy_loss", "targets", targets, len(weight), none=rows.ignored, remedy=remedy)
        raise
    flat = chunked.cleared(hidden, rows)
    said, found = policy.Work(kernels, loss, flat, Head(weight, bias), rows, tokens, options).learnt(wanted)
    said = said._replace(metrics=said.metrics.clone())  # which is a view
    return *said, *[hidden.new_empty(0) if one is None else one for one in found]


def _policy_fake(hidden: Tensor, weight: Tensor, bias: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    mask, wanted = rest[9], rest[-1]
    shapes = ((), (len(METRICS),), mask.shape, mask.shape)
    said = [hidden.new_empty(shape, dtype=torch.float32) for shape in shapes]
    given = zip((hidden, weight, bias), wanted, strict=True)
    return *said, *[hidden.new_empty(one.shape if one is not None and its else 0) for one, its in given]


def _policy_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.wanted, ctx.others = inputs[-1], len(inputs) - 3
    ctx.save_for_backward(*output[4:])


def _policy_backward(ctx: Any, of_loss: Tensor, *_: Any) -> tuple[Any, ...]:
    given = zip(ctx.saved_tensors, ctx.wanted, strict=True)
    return *[(one * of_loss).to(one.dtype) if its else None for one, its in given], *(None,) * ctx.others


define(
    "linear_policy_loss",
    f"{HEAD}, {ROWS}, Tensor old_logp, Tensor advantages, Tensor mask, Tensor weights, Tensor? reference, "
    "Tensor? correction, str objective, str ratio, float low, float high, float? dual, float kl, str kl_value, "
    "str kl_gradient, float entropy_weight, bool[] wanted",
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _policy,
    _policy_fake,
    (_policy_backward, _policy_setup),
)


def linear_policy_loss(
    backend: str,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None,
    temperature: float | Tensor,
    softcap: float | None,
    scale: float,
    **of: Any,
) -> LinearPolicyLoss:
    """For ratios of single tokens, and not in float16: there is nothing to wait for (`policy.later`)."""
    mask, aggregation = of["mask"], of["aggregation"]
    if not isinstance(aggregation, Tensor):
        of["aggregation"] = token_weights(mask, aggregation, of["length"])
    rows = asked(targets.where(mask, -100), temperature, softcap, scale, -100)
    tokens = [one if one is None else one.detach() for one in (of[name] for name in TOKENS)]
    options = [one if one is None or isinstance(one, str) else float(one) for one in (of[name] for name in OPTIONS)]
    wanted = [torch.is_grad_enabled() and one is not None and one.requires_grad for one in (hidden, weight, bias)]
    flat = hidden.reshape(-1, hidden.shape[-1])
    loss, *said = torch.ops.rlaif.linear_policy_loss(
        flat, weight, bias, rows.targets, rows.temperatures, *rows[1:5], backend, *tokens, *options, wanted
    )[:4]
    return LinearPolicyLoss(loss, *[one.detach() for one in said])
