"""The output layer and its gradients: products of a block of rows with a block of the vocabulary, in float32."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlaif_kernels import dense, fresh
from rlaif_kernels.native import product
from rlaif_kernels.reference.numbers import exact

__all__ = ["Gradients", "Head"]


class Head(NamedTuple):
    """The output layer: weight [V,H], bias [V] or None."""

    weight: Tensor
    bias: Tensor | None

    def logits(self, hidden: Tensor, columns: slice) -> Tensor:
        """hidden [N,H] -> [N, columns] f32."""
        weight, bias = self.weight[columns], self.bias if self.bias is None else self.bias[columns]
        with exact(hidden):
            if hidden.is_cuda and hidden.dtype != torch.float32:
                logits = torch.mm(hidden, weight.t(), out_dtype=torch.float32)
                return logits if bias is None else logits.add_(bias)
            if product.suits(hidden, weight):
                return product.product(hidden, weight, bias)
            return dense.product(hidden.float(), weight.float(), bias if bias is None else bias.float())


class Gradients(NamedTuple):
    """Of hidden states [N,H], weight [V,H] and bias [V], f32 or rounded already; None for what is not wanted."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    @classmethod
    def zeros(cls, hidden: Tensor, head: Head, wanted: tuple[bool, bool, bool]) -> Gradients:
        given = (hidden, head.weight, head.bias)
        return cls(
            *[
                fresh.like(one, torch.float32).zero_() if want and one is not None else None
                for one, want in zip(given, wanted, strict=True)
            ]
        )

    @classmethod
    def whole(cls, slopes: Tensor, hidden: Tensor, head: Head, wanted: tuple[bool, bool, bool]) -> Gradients:
        """What zeros come to by adding all rows and columns at once, on the CPU: zeros need not be written and read."""
        bias = slopes.sum(0) if wanted[2] else None  # before anything is rounded
        slopes = _rounded(slopes, hidden, head.weight)
        with exact(hidden), torch.no_grad():
            return cls(
                _multiplied(slopes, head.weight) if wanted[0] else None,
                _multiplied(slopes.t(), hidden) if wanted[1] else None,
                bias,
            )

    def like(self, hidden: Tensor) -> list[Tensor | None]:
        """As autograd wants them: in hidden's dtype."""
        return [one if one is None else fresh.cast(one, hidden.dtype) for one in self]

    def add(self, slopes: Tensor, hidden: Tensor, rows: Tensor | slice, head: Head, columns: slice) -> None:
        """Take in the gradient of a block of logits, slopes [n, columns] f32, of those `rows`; hidden [n,H] theirs."""
        if self.bias is not None:
            self.bias[columns] += slopes.sum(0)
        slopes = _rounded(slopes, hidden, head.weight)
        with exact(hidden), torch.no_grad():  # an operator's gradient, too, is made where gradients are wanted
            if self.hidden is not None:
                some = self.hidden[rows]
                _add(some, slopes, head.weight[columns])
                if isinstance(rows, Tensor):  # then these were copies
                    self.hidden[rows] = some
            if self.weight is not None:
                _add(self.weight[columns], slopes.t(), hidden)


def _rounded(slopes: Tensor, hidden: Tensor, weight: Tensor) -> Tensor:
    """Gradients of logits as they are multiplied: in the dtype of what made the logits, if that gives float32."""
    return fresh.cast(slopes, hidden.dtype) if hidden.is_cuda or product.suits(hidden, weight) else slopes


def _multiplied(left: Tensor, right: Tensor) -> Tensor:
    """left [N,K] @ right [K,M] -> [N,M] on the CPU; of bf16, rounded at once if nothing has to be added to it."""
    if left.dtype == torch.float32:
        return dense.multiplied(left, right.float())
    return product.product(left, right.t(), narrow=True)


def _add(into: Tensor, left: Tensor, right: Tensor) -> None:
    """into [N,M] f32 += left [N,K] @ right [K,M], whose sums are kept in float32 whatever their dtype."""
    if left.dtype == torch.float32:
        dense.add(into, left, right.float())
    elif left.is_cuda:
        torch.addmm(into, left, right, out_dtype=torch.float32, out=into)
    else:
        product.product(left, right.t(), onto=into)
