"""Linear layer and log-probabilities together, with the row kernels in C++."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import chunked, kept, policy
from rlaif_kernels.native import KINDS, address, binary, logprobs, losses

__all__ = ["kept_logprobs", "linear_logprobs", "linear_policy_loss"]

variant = ""
"""One of `binary.variants()`, by default the first: tests try them all."""


class KeptProducts(torch.autograd.Function):
    """hidden [N,H], weight [V,H], ids [N,K] -> hidden[n] . weight[ids[n, k]] [N,K] f32, 0 where the id is below 0."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, ids: Tensor) -> Tensor:
        hidden, weight = hidden.contiguous(), weight.contiguous()
        ctx.save_for_backward(hidden, weight, ids)
        products = hidden.new_empty(ids.shape, dtype=torch.float32)
        binary.kept_products(*_choice(hidden, weight, ids), products.data_ptr(), torch.get_num_threads(), variant)
        return products

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, ids = ctx.saved_tensors
        slopes = slopes.resolve_neg().contiguous()
        of_hidden = torch.empty_like(hidden, dtype=torch.float32) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        written = map(address, (slopes, of_hidden, of_weight))
        binary.kept_descend(*_choice(hidden, weight, ids), *written, torch.get_num_threads(), variant)
        found = ((of_hidden, hidden), (of_weight, weight))
        return *[one if one is None else one.to(like.dtype) for one, like in found], None


def _choice(hidden: Tensor, weight: Tensor, ids: Tensor) -> tuple[int, ...]:
    kind, pointers = KINDS[hidden.dtype], (hidden.data_ptr(), weight.data_ptr())
    return (*pointers, kind, *hidden.shape, ids.shape[1], ids.data_ptr())


linear_logprobs = partial(chunked.linear_logprobs, logprobs)
linear_policy_loss = partial(policy.linear_policy_loss, logprobs, losses.policy_loss)
kept_logprobs = partial(kept.kept_logprobs, logprobs, KeptProducts.apply)
