"""`reference.policy_loss` in C++: the loss, its gradient and its metrics in one pass over the tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels.loss_options import TOKENS, arranged
from rlaif_kernels.native import address, binary
from rlaif_kernels.reference.losses import METRICS, PolicyLoss

__all__ = ["measured", "policy_loss"]

variant = ""
"""One of `binary.variants()`, by default the first: tests try them all."""


def policy_loss(logp: Tensor, *tokens: Tensor, entropy: Tensor | None = None, **options: Any) -> PolicyLoss:
    """`reference.policy_loss` of old log-probs, advantages, mask and its other options, none left out."""
    given, numbers = arranged(dict(zip(TOKENS, tokens, strict=False), **options))
    if torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in (logp, entropy)):
        return PolicyLoss(*_PolicyLoss.apply(logp, entropy, given, numbers))  # type: ignore[no-untyped-call]
    return PolicyLoss(*measured(logp, entropy, given, numbers, slopes=False)[:2])


class _PolicyLoss(torch.autograd.Function):
    """logp [B,T], entropy [B,T] or None -> loss, metrics [8]."""

    @staticmethod
    def forward(
        ctx: Any, logp: Tensor, entropy: Tensor | None, given: list[Tensor | None], options: tuple[float, ...]
    ) -> tuple[Tensor, Tensor]:
        loss, metrics, *slopes = measured(logp, entropy, given, options)
        ctx.dtypes = logp.dtype, None if entropy is None else entropy.dtype
        ctx.save_for_backward(*slopes)
        ctx.mark_non_differentiable(metrics)
        return loss.clone(), metrics  # a view could not be divided in place

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        found = ctx.saved_tensors
        if float(of_loss) != 1.0:  # it is where this is the whole loss
            found = [one if one is None else of_loss * one for one in found]
        given = zip(found, ctx.dtypes, strict=True)
        return *[one if one is None or dtype is None else one.to(dtype) for one, dtype in given], None, None


def measured(
    logp: Tensor,
    entropy: Tensor | None,
    given: Sequence[Tensor | None],
    options: Sequence[float],
    *,
    slopes: bool = True,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """The loss, its metrics [8], and with `slopes` its gradients with respect to logp and entropy [B,T] f32.

    given: old log-probs, advantages, mask, reference, correction, weights; options in the order of csrc/policy.hpp.
    """
    old, advantages, mask, *others = given
    assert mask is not None
    # These locals own what the addresses point at until the call returns.
    floats, flags = [_floats(one) for one in (logp, old, advantages)], mask.contiguous()
    reference, correction, weights = (_floats(one) for one in others)
    spread = _floats(entropy)
    out = logp.new_empty(1 + len(METRICS), dtype=torch.float32)
    of_logp = out.new_empty(logp.shape) if slopes else None
    of_entropy = out.new_empty(logp.shape) if slopes and entropy is not None else None
    binary.policy_loss(
        *logp.shape,
        *map(address, (*floats, flags, weights)),
        *options[:2],
        *map(address, (reference, spread, correction)),
        *options[2:],
        *map(address, (of_logp, of_entropy, out)),
        torch.get_num_threads(),
        variant,
    )
    return out[0], out[1:], of_logp, of_entropy


def _floats(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().float().contiguous()
