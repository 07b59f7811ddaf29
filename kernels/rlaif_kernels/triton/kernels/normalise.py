"""Whitening in three steps: (n, mean, M2) of each tile, all tiles' merged in one fixed order, and the entries moved."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["apply", "merge", "partials"]


@triton.jit
def partials(
    x,  # [N]
    mask,  # [N] uint8
    parts,  # [tiles,4] f64: n, mean, what rounding left of the sum of x - mean, and the sum of (x - mean)^2
    size,  # N
    DTYPE: tl.constexpr,
    TILE: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    there = tl.load(mask + at, mask=at < size, other=0) != 0
    # All are loaded, for a mask of single entries would make the loads narrow; what is masked is not selected.
    given = tl.where(there, tl.load(x + at, mask=at < size, other=0.0).to(DTYPE), 0.0)
    n = tl.sum(there.to(DTYPE), 0)
    mean = tl.sum(given, 0) / tl.maximum(n, 1.0)
    apart = tl.where(there, given - mean, 0.0)
    to = parts + tl.program_id(0).to(tl.int64) * 4
    tl.store(to, n.to(tl.float64))
    tl.store(to + 1, mean.to(tl.float64))
    tl.store(to + 2, tl.sum(apart, 0).to(tl.float64))
    tl.store(to + 3, tl.sum(apart * apart, 0).to(tl.float64))


@triton.jit(do_not_specialize=["tiles"])
def merge(
    parts,  # [tiles,4] f64
    tiles,
    moments,  # [2] f64: the mean of all, and 1 / sqrt(variance + eps)
    EPS: tl.constexpr,  # so that float64 has all its digits
    TILES: tl.constexpr,
):
    """Chan, Golub & LeVeque, 1979, eq. 2.1, for many parts at once and in float64, which a few numbers can afford.

    A part's own mean is corrected by what rounding left, and so is its M2.
    """
    lanes = tl.arange(0, TILES)
    counts, sums = tl.zeros((TILES,), tl.float64), tl.zeros((TILES,), tl.float64)
    for done in range(0, tiles, TILES):
        at, there = parts + (done + lanes) * 4, done + lanes < tiles
        n = tl.load(at, mask=there, other=0.0)
        counts += n
        sums += n * tl.load(at + 1, mask=there, other=0.0) + tl.load(at + 2, mask=there, other=0.0)
    count = tl.maximum(tl.sum(counts, 0), 1.0)
    mean = tl.sum(sums, 0) / count
    squares = tl.zeros((TILES,), tl.float64)
    for done in range(0, tiles, TILES):
        at, there = parts + (done + lanes) * 4, done + lanes < tiles
        n, left = tl.load(at, mask=there, other=0.0), tl.load(at + 2, mask=there, other=0.0)
        shift = tl.load(at + 1, mask=there, other=0.0) - mean
        # sum (x - mean)^2 = M2 + 2 shift sum (x - part's mean) + n shift^2
        squares += tl.load(at + 3, mask=there, other=0.0) + shift * (2.0 * left + n * shift)
    tl.store(moments, mean)
    tl.store(moments + 1, 1.0 / tl.sqrt(tl.sum(squares, 0) / count + EPS))


@triton.jit
def apply(
    x,  # [N]
    mask,  # [N] uint8
    moments,  # [2] f64
    out,  # [N]
    size,  # N
    DTYPE: tl.constexpr,
    TILE: tl.constexpr,
):
    """(x - mean) / sqrt(variance + eps); the mean in two pieces of x's precision, so that it is not rounded."""
    at = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    there = tl.load(mask + at, mask=at < size, other=0) != 0
    given = tl.load(x + at, mask=at < size, other=0.0).to(DTYPE)
    mean = tl.load(moments)
    high = mean.to(DTYPE)
    low = (mean - high.to(tl.float64)).to(DTYPE)
    scale = tl.load(moments + 1).to(DTYPE)
    tl.store(out + at, tl.where(there, ((given - high) - low) * scale, 0.0), mask=at < size)
