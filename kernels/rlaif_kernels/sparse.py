"""Products of rows with a few rows of a matrix each, on GPUs, and their gradients, of which nothing is atomic.

What is computed is a sample of left @ right^T. Its gradient S is a sparse matrix with that sample's places, so the
gradients of both sides are products of S, and of its transpose, with a dense matrix. Each row of S is summed in a fixed
order, and where an id stands decides its place in the transpose: results are the same from run to run.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rlaif_kernels.rows import dense

__all__ = ["Kernels", "Sparse", "sampled_product"]


class Sparse(NamedTuple):
    """A matrix in compressed sparse rows: row r has factors[i] in column columns[i], bounds[r] <= i < bounds[r + 1]."""

    bounds: Tensor
    """[rows + 1] int64."""
    columns: Tensor
    """[terms] int64; those below 0 stand for none."""
    factors: Tensor
    """[terms] f32."""


class Kernels(Protocol):
    """Of matrices in f32, bf16 or f16, rows dense and at any distance; sums are kept in f32.

    A row that the matrix does not have counts as one of NaN where it is beyond the last, and as 0 where it is below 0.
    """

    def sampled_product(self, left: Tensor, right: Tensor, ids: Tensor) -> Tensor:
        """left [N,H], right [V,H], ids [N,K] int64 -> left[n] . right[ids[n, k]], [N,K] f32."""

    def sparse_product(self, sparse: Sparse, table: Tensor) -> Tensor:
        """sparse @ table [.,H] -> [rows,H], rounded to the table's dtype."""


def sampled_product(kernels: Kernels, left: Tensor, right: Tensor, ids: Tensor) -> Tensor:
    """`Kernels.sampled_product`, differentiable with respect to both matrices."""
    products: Tensor = SampledProduct.apply(left, right, ids, kernels)  # type: ignore[no-untyped-call]
    return products


class SampledProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, ids: Tensor, kernels: Kernels) -> Tensor:
        left, right, ids = dense(left), dense(right), ids.contiguous()
        ctx.kernels = kernels
        ctx.save_for_backward(left, right, ids)
        return kernels.sampled_product(left, right, ids)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        left, right, ids = ctx.saved_tensors
        factors, of_left, of_right = slopes.resolve_neg().flatten().contiguous(), None, None
        if ctx.needs_input_grad[0]:
            bounds = torch.arange(len(ids) + 1, device=ids.device) * ids.shape[1]
            of_left = ctx.kernels.sparse_product(Sparse(bounds, ids.flatten(), factors), right)
        if ctx.needs_input_grad[1]:
            of_right = ctx.kernels.sparse_product(_transposed(ids, factors, len(right)), left)
        return of_left, of_right, None, None


def _transposed(ids: Tensor, factors: Tensor, height: int) -> Sparse:
    """[height, N] of the factors at columns `ids` [N,K] of [N, height]; no other id is within the bounds."""
    ordered, order = ids.flatten().sort(stable=True)
    bounds = torch.searchsorted(ordered, torch.arange(height + 1, device=ids.device))
    return Sparse(bounds, order // max(ids.shape[1], 1), factors[order])
