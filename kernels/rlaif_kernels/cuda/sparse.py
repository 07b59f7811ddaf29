"""`sparse.Kernels` in CUDA."""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif_kernels import cuda
from rlaif_kernels.cuda import NUMBERS, address
from rlaif_kernels.sparse import Sparse

__all__ = ["sampled_product", "sparse_product"]


def sampled_product(left: Tensor, right: Tensor, ids: Tensor) -> Tensor:
    """As in `sparse.Kernels`."""
    out = torch.empty(ids.shape, dtype=torch.float32, device=left.device)
    given = _table(left), _table(right), ids.shape[1], address(ids)
    cuda.binary.sampled_product(cuda.queue(left), *given, address(out))
    return out


def sparse_product(sparse: Sparse, table: Tensor) -> Tensor:
    """As in `sparse.Kernels`."""
    rows = len(sparse.bounds) - 1
    out = table.new_empty(rows, table.shape[1])
    cuda.binary.sparse_product(cuda.queue(table), rows, *map(address, sparse), _table(table), address(out))
    return out


def _table(table: Tensor) -> tuple[int, ...]:
    return NUMBERS[table.dtype], address(table), table.stride(0), *table.shape
