"""Gradients of what the binary computes without any: those of the definition, computed for the way back alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["differentiable"]

Run = Callable[..., Tensor]


def differentiable(run: Run, definition: Run, *tensors: Tensor | None) -> Tensor:
    """run(*tensors), with the gradients, of any order, of definition(*tensors)."""
    if torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in tensors):
        return _Differentiable.apply(run, definition, *tensors)  # type: ignore[no-any-return, no-untyped-call]
    return run(*tensors)


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Run, definition: Run, *tensors: Tensor | None) -> Tensor:
        ctx.save_for_backward(*tensors)
        ctx.definition = definition
        return run(*tensors)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        tensors, wanted = ctx.saved_tensors, ctx.needs_input_grad[2:]
        with torch.enable_grad():
            said = ctx.definition(*tensors)
        leaves = [one for one, yes in zip(tensors, wanted, strict=True) if yes]
        found = iter(torch.autograd.grad(said, leaves, slope, create_graph=torch.is_grad_enabled()))
        return None, None, *(next(found) if yes else None for yes in wanted)
