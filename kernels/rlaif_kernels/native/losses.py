"""`reference.policy_loss` in C++: the loss, its gradient and its metrics in one pass over the tokens."""

from __future__ import annotations

import math
from typing import Any, get_args

import torch
from torch import Tensor

from rlaif_kernels.native import address, binary
from rlaif_kernels.reference.losses import METRICS, Aggregation, Estimator, Objective, PolicyLoss, Ratio, token_weights

__all__ = ["policy_loss"]

ESTIMATORS = get_args(Estimator)  # in the order of csrc/policy.hpp
variant = ""
"""One of `binary.variants()`, by default the first: tests try them all."""


def policy_loss(
    logp: Tensor,
    old_logp: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
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
    entropy: Tensor | None = None,
    entropy_weight: float = 0.0,
    correction: Tensor | None = None,
) -> PolicyLoss:
    weights = token_weights(mask, aggregation, length) if isinstance(aggregation, str) else aggregation
    given = [old_logp, advantages, weights, mask, reference, entropy, correction]
    options = (
        objective == "cispo",
        ratio == "sequence",
        1 - low,
        1 + high,
        math.inf if dual is None else dual,
        kl,
        entropy_weight,
        ESTIMATORS.index(kl_value),
        ESTIMATORS.index(kl_gradient),
    )
    return PolicyLoss(*_PolicyLoss.apply(logp, entropy, given, options))  # type: ignore[no-untyped-call]


class _PolicyLoss(torch.autograd.Function):
    """logp [B,T], entropy [B,T] or None -> loss, metrics [8]."""

    @staticmethod
    def forward(
        ctx: Any, logp: Tensor, entropy: Tensor | None, given: list[Tensor | None], options: tuple[float, ...]
    ) -> tuple[Tensor, Tensor]:
        old, advantages, weights, mask, *others = given
        assert mask is not None
        floats = [_floats(one) for one in (logp, old, advantages, weights)]
        flags, some = mask.contiguous(), [_floats(one) for one in others]
        out = torch.empty(1 + len(METRICS))
        ctx.dtypes = logp.dtype, None if entropy is None else entropy.dtype
        of_logp = torch.empty(logp.shape)
        of_entropy = torch.empty(logp.shape) if entropy is not None and entropy.requires_grad else None
        pointers = [*map(address, floats), flags.data_ptr(), *map(address, some)]
        threads = torch.get_num_threads()
        written = (address(of_logp), address(of_entropy), out.data_ptr())
        binary.policy_loss(*logp.shape, *pointers, *options, *written, threads, variant)
        ctx.save_for_backward(of_logp, of_entropy)
        loss, metrics = out[0], out[1:]
        ctx.mark_non_differentiable(metrics)
        return loss, metrics

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, of_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        slopes = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        return *[one if one is None else (of_loss * one).to(dtype) for one, dtype in slopes], None, None


def _floats(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().float().contiguous()
