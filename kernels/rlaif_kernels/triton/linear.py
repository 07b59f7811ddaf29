"""`reference.linear_logprobs` forwards in Triton: the logits are reduced as they are formed, and never written.

The accumulators themselves are reduced, so logits of half-precision inputs are as exact as float32 sums can be. float32
inputs are multiplied as "tf32x3": three products on the tensor cores that leave an error of about 2^-22, where "tf32"
alone leaves 2^-11 and "ieee" has to do without tensor cores. The vocabulary is cut into segments of SEGMENT columns
however many rows there are, and tiles are chosen by device, dtype and weight: rows do not depend on their company.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from rlaif_kernels import chunked, kept, policy
from rlaif_kernels import sparse as sparse_products
from rlaif_kernels.reference.losses import policy_loss
from rlaif_kernels.rows import Rows, Said, dense
from rlaif_kernels.triton import OPTIONS, device_of, interpreted, logprobs, sparse
from rlaif_kernels.triton.kernels import linear as kernels
from rlaif_kernels.triton.logprobs import asked_of, join, room

__all__ = [
    "CAPPED",
    "DESCRIBED",
    "POINTED",
    "RAGGED",
    "SEGMENT",
    "Tiles",
    "forward",
    "kept_logprobs",
    "linear_logprobs",
    "linear_policy_loss",
]

SEGMENT = 1024


class Tiles(NamedTuple):
    """The largest that leave no register to spill, in the order of the kernel's constants and options."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


# Bytes of an element -> tiles: read by pointers on any GPU, in the 99 KiB that the smallest have; and by the tensor
# memory accelerator of compute capability 9 (Hopper) and 10 (Blackwell in data centres, where the accumulators have a
# memory of their own). A softcap takes registers.
POINTED = {2: Tiles(128, 128, 64, 8, 3), 4: Tiles(128, 64, 32, 8, 3)}
DESCRIBED = {
    9: {2: Tiles(128, 256, 64, 8, 3), 4: Tiles(128, 128, 32, 8, 3)},
    10: {2: Tiles(128, 128, 64, 8, 4), 4: Tiles(128, 128, 32, 8, 3)},
}
CAPPED = DESCRIBED[10]
RAGGED = POINTED[4]  # with a mask at the end of H, where tiles are not whole


def forward(hidden: Tensor, weight: Tensor, bias: Tensor | None, rows: Rows, entropy: bool) -> Said:
    """What is said of N rows of logits hidden [N,H] @ weight [V,H]^T + bias [V]; the whole vocabulary at once."""
    (height, depth), vocabulary = hidden.shape, len(weight)
    weight = dense(weight)
    described = _described(weight, bool(rows.softcap))
    tiles = described or _pointed(depth, weight.element_size())
    if described and not _aligned(hidden):
        hidden = hidden.clone(memory_format=torch.contiguous_format)
    hidden = dense(hidden)
    blocks, segments = triton.cdiv(height, tiles.rows), triton.cdiv(vocabulary, SEGMENT)
    states = hidden.new_empty(height, segments, 4, dtype=torch.float32)
    given: list[Any] = [hidden, weight]
    if described:
        sizes = [tiles.rows, tiles.depth], [tiles.columns, tiles.depth]
        given = [TensorDescriptor.from_tensor(x, size) for x, size in zip(given, sizes, strict=True)]
    with device_of(hidden):
        kernels.fold_product[(min(blocks * segments, _processors(hidden)),)](
            *(given[0], hidden.stride(0), given[1], weight.stride(0), bias if bias is None else bias.contiguous()),
            *(height, vocabulary, depth, *asked_of(rows), blocks, segments, states),
            TMA=bool(described),
            EVEN=depth % tiles.depth == 0,
            SOFTCAP=bool(rows.softcap),
            MOMENT=entropy,
            PRECISION="tf32x3",  # read for float32 alone
            WIDEN=interpreted,
            ROWS=tiles.rows,
            COLUMNS=tiles.columns,
            DEPTH=tiles.depth,
            SEGMENT=SEGMENT,
            num_warps=tiles.warps,
            num_stages=tiles.stages,
            **OPTIONS,
        )
    said = room(hidden, entropy)
    join(states, rows, said=said)
    return said


def _described(weight: Tensor, softcap: bool) -> Tiles | None:
    """The tiles for tensor descriptors, where the device reads by them and the weight is laid out as they need it."""
    if interpreted or not _aligned(weight) or weight.shape[1] * weight.element_size() % 16:
        return None
    tiles = DESCRIBED.get(torch.cuda.get_device_capability(weight.device)[0])
    return None if tiles is None else (CAPPED if softcap else tiles)[weight.element_size()]


def _pointed(depth: int, size: int) -> Tiles:
    return RAGGED if depth % POINTED[size].depth else POINTED[size]


def _aligned(tensor: Tensor) -> bool:
    """Whether rows begin at multiples of 16 bytes and behind each other; the stride of a single row may be anything."""
    apart, beside = tensor.stride()
    if apart < tensor.shape[1] or beside != 1:
        return False
    return tensor.data_ptr() % 16 == apart * tensor.element_size() % 16 == 0


def _processors(tensor: Tensor) -> int:
    """How many programs run at once; those of the interpreter run one after the other."""
    return torch.cuda.get_device_properties(tensor.device).multi_processor_count if tensor.is_cuda else 2


linear_logprobs = partial(chunked.linear_logprobs, logprobs, fused=forward)
linear_policy_loss = partial(policy.linear_policy_loss, logprobs, policy_loss)
kept_logprobs = partial(kept.kept_logprobs, logprobs, partial(sparse_products.sampled_product, sparse))
