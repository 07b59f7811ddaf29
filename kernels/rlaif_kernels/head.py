"""The output layer and its gradients: products of a block of rows with a block of the vocabulary, in float32."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlaif_kernels import dense
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
    """Of hidden states [N,H], weight [V,H] and bias [V], f32; None for what is not wanted."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    @classmethod
    def zeros(cls, hidden: Tensor, head: Head, wanted: tuple[bool, bool, bool]) -> Gradients:
        given = (hidden, head.weight, head.bias)
        return cls(
            *[
                torch.zeros_like(one, dtype=torch.float32) if want and one is not None else None
                for one, want in zip(given, wanted, strict=True)
            ]
        )

    @classmethod
    def whole(cls, slopes: Tensor, hidden: Tensor, head: Head, wanted: tuple[bool, bool, bool]) -> Gradients:
        """What zeros come to by adding all rows and columns at once, on the CPU: zeros need not be written and read."""
        with exact(hidden):
            return cls(
                dense.inner(slopes, head.weight.to(slopes.dtype)) if wanted[0] else None,
                dense.outer(slopes, hidden.to(slopes.dtype)) if wanted[1] else None,
                slopes.sum(0) if wanted[2] else None,
            )

    def add(self, slopes: Tensor, hidden: Tensor, rows: Tensor | slice, head: Head, columns: slice) -> None:
        """Take in the gradient of a block of logits, slopes [n, columns] f32, of those `rows`; hidden [n,H] theirs."""
        if self.bias is not None:
            self.bias[columns] += slopes.sum(0)
        slopes = slopes.to(hidden.dtype) if hidden.is_cuda else slopes
        with exact(hidden):
            if self.hidden is not None:
                some = self.hidden[rows]
                dense.add_inner(some, slopes, head.weight[columns].to(slopes.dtype))
                if isinstance(rows, Tensor):  # then these were copies
                    self.hidden[rows] = some
            if self.weight is not None:
                dense.add_outer(self.weight[columns], slopes, hidden.to(slopes.dtype))
