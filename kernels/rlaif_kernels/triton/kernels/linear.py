"""Logits as tiles of hidden @ weight^T that are reduced where they are formed, in the accumulators: none is written."""

from __future__ import annotations

import triton
import triton.language as tl

from rlaif_kernels.triton.kernels.softmax import PER_ROW, coefficients, taken_in, z_of

__all__ = ["fold_product"]


@triton.jit
def product(a, b, sum_so_far, PRECISION: tl.constexpr, WIDEN: tl.constexpr):
    """sum_so_far + a @ b; the interpreter multiplies bfloat16 wrongly, so there it is widened first."""
    if WIDEN:
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, sum_so_far, input_precision=PRECISION)


@triton.jit(do_not_specialize=["n", "v", "ignored", "row_blocks", "segments"], do_not_specialize_on_alignment=PER_ROW)
def fold_product(
    hidden,  # [N,H], rows `hidden_stride` apart
    hidden_stride,
    weight,  # [V,H], rows `weight_stride` apart
    weight_stride,
    bias,  # [V] or None
    n,
    v,
    h,
    targets,  # [N] int64
    ignored,
    temperature,
    temperatures,  # [N] f32 or None
    scale,
    softcap,
    row_blocks,
    segments,
    states,  # [N,segments,4] f32: m, mass, moment and the target's z, of each segment
    TMA: tl.constexpr,
    EVEN: tl.constexpr,
    SOFTCAP: tl.constexpr,
    MOMENT: tl.constexpr,
    PRECISION: tl.constexpr,
    WIDEN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    SEGMENT: tl.constexpr,
):
    """Each item of work is ROWS rows with one segment of the vocabulary, SEGMENT columns, tile after tile.

    A program goes from item to item in steps of how many programs there are, which decides who does the work and not
    what it is. Items that follow each other share a segment, so that the weight is read from the cache.
    """
    lanes, deep = tl.arange(0, COLUMNS), tl.arange(0, DEPTH)
    for item in range(tl.program_id(0), row_blocks * segments, tl.num_programs(0)):
        block = item % row_blocks * ROWS
        rows = block.to(tl.int64) + tl.arange(0, ROWS)
        segment = item // row_blocks
        target = tl.load(targets + rows, mask=rows < n, other=ignored)
        asked = target != ignored
        if tl.max(asked.to(tl.int32), 0) > 0:
            if temperatures is not None:
                # 1 where nothing is asked: what stands there may be 0.
                heat = tl.load(temperatures + rows, mask=asked, other=1.0)[:, None]
            else:
                heat = temperature
            inner, outer = coefficients(heat, scale, softcap, SOFTCAP)
            m = tl.full((ROWS,), float("-inf"), tl.float32)
            mass, moment = tl.zeros((ROWS,), tl.float32), tl.zeros((ROWS,), tl.float32)
            chosen = tl.where((target < 0) | (target >= v), float("nan"), tl.zeros((ROWS,), tl.float32))
            # Rows of which nothing is asked are not read: their logits are 0.
            if not TMA:
                left = hidden + rows[:, None] * hidden_stride + deep[None, :]
            for start in range(segment * SEGMENT, tl.minimum(v, (segment + 1) * SEGMENT), COLUMNS):
                columns = start + lanes
                there = columns < v
                if not TMA:
                    right = weight + columns[None, :].to(tl.int64) * weight_stride + deep[:, None]
                logits = tl.zeros((ROWS, COLUMNS), tl.float32)
                for done in range(0, h, DEPTH):
                    if TMA:
                        a = hidden.load([block, done])
                        b = weight.load([start, done]).T
                    elif EVEN:
                        a = tl.load(left + done, mask=asked[:, None], other=0.0)
                        b = tl.load(right + done, mask=there[None, :], other=0.0)
                    else:
                        within = done + deep < h
                        a = tl.load(left + done, mask=asked[:, None] & within[None, :], other=0.0)
                        b = tl.load(right + done, mask=there[None, :] & within[:, None], other=0.0)
                    logits = product(a, b, logits, PRECISION, WIDEN)
                if bias is not None:
                    logits += tl.load(bias + columns, mask=there, other=0.0).to(tl.float32)[None, :]
                z = tl.where(there[None, :], z_of(logits, inner, outer, SOFTCAP), float("-inf"))
                m, mass, moment = taken_in(z, m, mass, moment, MOMENT)
                chosen += tl.sum(tl.where(columns[None, :] == target[:, None], z, 0.0), 1)
            state = states + (rows * segments + segment) * 4
            tl.store(state, m, mask=asked)
            tl.store(state + 1, mass, mask=asked)
            tl.store(state + 2, moment, mask=asked)
            tl.store(state + 3, chosen, mask=asked)
