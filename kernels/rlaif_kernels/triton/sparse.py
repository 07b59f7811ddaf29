"""`sparse.Kernels` in Triton. The sizes of tiles are constants, so no row depends on its company."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from rlaif_kernels.sparse import Sparse
from rlaif_kernels.triton import OPTIONS, device_of
from rlaif_kernels.triton.kernels import sparse as kernels

__all__ = ["BLOCK", "DEPTH", "IDS", "TERMS", "sampled_product", "sparse_product"]

IDS, DEPTH = 8, 256  # a tile of products: rows and columns
TERMS, BLOCK = 8, 512  # a tile of what is summed up


def sampled_product(left: Tensor, right: Tensor, ids: Tensor) -> Tensor:
    """As in `sparse.Kernels`."""
    (rows, many), (height, width) = ids.shape, right.shape
    out = left.new_empty(rows, many, dtype=torch.float32)
    pieces = triton.cdiv(many, IDS)
    if out.numel():
        with device_of(left):
            kernels.sampled_product[(rows * pieces,)](
                *(left, left.stride(0), right, right.stride(0), height, width, ids, many, pieces, out),
                IDS=IDS,
                DEPTH=DEPTH,
                **OPTIONS,
            )
    return out


def sparse_product(sparse: Sparse, table: Tensor) -> Tensor:
    """As in `sparse.Kernels`."""
    rows, (height, width) = len(sparse.bounds) - 1, table.shape
    out = table.new_empty(rows, width)
    pieces = triton.cdiv(width, BLOCK)
    if out.numel():
        with device_of(table):
            kernels.sparse_product[(rows * pieces,)](
                *(*sparse, table, table.stride(0), height, width, pieces, out),
                TERMS=TERMS,
                BLOCK=BLOCK,
                **OPTIONS,
            )
    return out
