"""A sample of a matrix product, and a sparse matrix times a dense one: rows are gathered, a few at a time."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["sampled_product", "sparse_product"]


@triton.jit(do_not_specialize=["height", "many", "pieces"])
def sampled_product(
    left,  # [N,H], rows `left_stride` apart
    left_stride,
    right,  # [V,H], rows `right_stride` apart
    right_stride,
    height,  # V
    width,  # H
    ids,  # [N,K] int64
    many,  # K
    pieces,
    out,  # [N,K] f32
    IDS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Each program multiplies one row with IDS others."""
    row = (tl.program_id(0) // pieces).to(tl.int64)
    place = tl.program_id(0) % pieces * IDS + tl.arange(0, IDS)
    its = tl.load(ids + row * many + place, mask=place < many, other=-1)
    inside = (its >= 0) & (its < height)
    lanes = tl.arange(0, DEPTH)
    one = left + row * left_stride + lanes
    others = right + its[:, None] * right_stride + lanes[None, :]
    sums = tl.zeros((IDS, DEPTH), tl.float32)
    for done in range(0, width, DEPTH):
        there = done + lanes < width
        a = tl.load(one + done, mask=there, other=0.0).to(tl.float32)
        b = tl.load(others + done, mask=inside[:, None] & there[None, :], other=0.0).to(tl.float32)
        # Where there is no row, what stands in `left` does not matter.
        sums += tl.where(inside[:, None], a[None, :] * b, 0.0)
    products = tl.where(its < height, tl.sum(sums, 1), float("nan"))
    tl.store(out + row * many + place, products, mask=place < many)


@triton.jit(do_not_specialize=["height", "pieces"])
def sparse_product(
    bounds,  # [R+1] int64
    columns,  # [terms] int64
    factors,  # [terms] f32
    table,  # [V,H], rows `stride` apart
    stride,
    height,  # V
    width,  # H
    pieces,
    out,  # [R,H]
    TERMS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Each program sums up BLOCK columns of one row, TERMS rows of the table at a time."""
    row = (tl.program_id(0) // pieces).to(tl.int64)
    place = tl.program_id(0) % pieces * BLOCK + tl.arange(0, BLOCK)
    there = place < width
    first, end = tl.load(bounds + row), tl.load(bounds + row + 1)
    total = tl.zeros((BLOCK,), tl.float32)
    for done in range(first, end, TERMS):
        terms = done + tl.arange(0, TERMS)
        its = tl.load(columns + terms, mask=terms < end, other=-1)
        factor = tl.load(factors + terms, mask=terms < end, other=0.0)
        factor = tl.where(its < 0, 0.0, tl.where(its < height, factor, float("nan")))
        counts = (factor != 0.0) & (its >= 0) & (its < height)  # nothing else is read: it need not be finite
        x = tl.load(table + its[:, None] * stride + place[None, :], mask=counts[:, None] & there[None, :], other=0.0)
        total += tl.sum(factor[:, None] * x.to(tl.float32), 0)
    tl.store(out + row * width + place, total.to(out.dtype.element_ty), mask=there)
