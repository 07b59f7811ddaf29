"""Rows of logits taken in by segments, their states joined, and the way back.

A program takes one segment of one row, SEGMENT columns in blocks of BLOCK, whether the rows are one or many: there is
no other path, so a row's bits never depend on how many there are.
"""

from __future__ import annotations

import triton
import triton.language as tl

from rlaif_kernels.triton.kernels.softmax import PER_ROW, coefficients, exponential, joined, slope_of, taken_in, z_of

__all__ = ["descend", "fold", "join"]


@triton.jit
def start_of(row, group, far, near):
    """Where a row begins, as in `gpu.layout`."""
    return (row // group).to(tl.int64) * far + (row % group).to(tl.int64) * near


@triton.jit(
    do_not_specialize=["group", "ignored", "first", "width", "segments", "slots"],
    do_not_specialize_on_alignment=PER_ROW,
)
def fold(
    logits,  # [N,W], rows as in `start_of`
    group,
    far,
    near,
    targets,  # [N] int64
    ignored,
    temperature,
    temperatures,  # [N] f32 or None
    scale,
    softcap,
    first,
    width,
    segments,
    states,  # [N,slots,4] f32: m, mass, moment and the target's z, of each segment
    slots,
    SOFTCAP: tl.constexpr,
    MOMENT: tl.constexpr,
    WHOLE: tl.constexpr,  # these are all columns there are
    BLOCK: tl.constexpr,
    SEGMENT: tl.constexpr,
):
    row = tl.program_id(0) // segments
    segment = tl.program_id(0) % segments
    target = tl.load(targets + row)
    if target != ignored:
        if temperatures is not None:
            temperature = tl.load(temperatures + row)
        inner, outer = coefficients(temperature, scale, softcap, SOFTCAP)
        start = segment * SEGMENT
        columns = tl.minimum(width - start, SEGMENT)
        lanes = tl.arange(0, BLOCK)[None, :]
        source = logits + start_of(row, group, far, near) + start
        block = source + lanes
        m = tl.full((1,), float("-inf"), tl.float32)
        mass, moment = tl.zeros((1,), tl.float32), tl.zeros((1,), tl.float32)
        whole = columns // BLOCK * BLOCK
        for done in range(0, whole, BLOCK):  # without a mask, so that the loads are as wide as they can be
            x = tl.load(block + done, eviction_policy="evict_first").to(tl.float32)
            m, mass, moment = taken_in(z_of(x, inner, outer, SOFTCAP), m, mass, moment, MOMENT)
        if whole < columns:
            there = whole + lanes < columns
            x = tl.load(block + whole, mask=there, other=0.0, eviction_policy="evict_first").to(tl.float32)
            z = tl.where(there, z_of(x, inner, outer, SOFTCAP), float("-inf"))
            m, mass, moment = taken_in(z, m, mass, moment, MOMENT)
        place = target - first - start
        here = (place >= 0) & (place < columns)
        x = tl.load(source + place, mask=here, other=0.0).to(tl.float32)
        chosen = tl.where(here, z_of(x, inner, outer, SOFTCAP), 0.0)
        outside = target < 0
        if WHOLE:
            outside = outside | (target >= width)
        one = tl.arange(0, 1)
        state = states + (row.to(tl.int64) * slots + segment) * 4 + one
        tl.store(state, m)
        tl.store(state + 1, mass)
        tl.store(state + 2, moment)
        tl.store(state + 3, tl.where(outside, float("nan"), chosen) + tl.zeros((1,), tl.float32))


@triton.jit(do_not_specialize=["n", "ignored", "slots"], do_not_specialize_on_alignment=PER_ROW)
def join(
    states,  # [N,slots,4] f32
    n,
    slots,
    targets,  # [N] int64
    ignored,
    state,  # [N,4] f32 or None
    logp,  # [N] f32 or None, and so are the others
    entropy,
    largest,
    logsum,
    ROWS: tl.constexpr,
    SLOTS: tl.constexpr,  # a power of 2 that is at least `slots`
):
    """The states of each row made one, and what is said of the row; 0 where nothing was asked."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    asked = tl.load(targets + rows, mask=rows < n, other=ignored) != ignored
    slot = tl.arange(0, SLOTS)
    at = states + (rows[:, None] * slots + slot[None, :]) * 4
    there = asked[:, None] & (slot < slots)[None, :]
    m, mass, moment = joined(
        tl.load(at, mask=there, other=float("-inf")),
        tl.load(at + 1, mask=there, other=0.0),
        tl.load(at + 2, mask=there, other=0.0),
    )
    chosen = tl.sum(tl.load(at + 3, mask=there, other=0.0), 1)  # all but one are 0
    if state is not None:
        tl.store(state + rows * 4, tl.where(asked, m, 0.0), mask=rows < n)
        tl.store(state + rows * 4 + 1, tl.where(asked, mass, 0.0), mask=rows < n)
        tl.store(state + rows * 4 + 2, tl.where(asked, moment, 0.0), mask=rows < n)
        tl.store(state + rows * 4 + 3, chosen, mask=rows < n)
    if logp is not None:
        log = tl.log(tl.where(asked, mass, 1.0))
        tl.store(logp + rows, tl.where(asked, (chosen - m) - log, 0.0), mask=rows < n)
        tl.store(largest + rows, tl.where(asked, m, 0.0), mask=rows < n)
        tl.store(logsum + rows, log, mask=rows < n)
        if entropy is not None:
            tl.store(entropy + rows, tl.where(asked, log - moment / mass, 0.0), mask=rows < n)


@triton.jit(
    do_not_specialize=["group", "out_group", "ignored", "first", "width", "segments"],
    do_not_specialize_on_alignment=PER_ROW,
)
def descend(
    logits,  # [N,W], rows as in `start_of`
    group,
    far,
    near,
    targets,  # [N] int64
    ignored,
    temperature,
    temperatures,  # [N] f32 or None
    scale,
    softcap,
    first,
    width,
    segments,
    largest,  # [N] f32, as is all that follows
    logsum,
    entropy,  # or None
    of_logp,  # or None
    of_entropy,  # or None
    out,  # [N,W]; may be the logits
    out_group,
    out_far,
    out_near,
    SOFTCAP: tl.constexpr,
    BLOCK: tl.constexpr,
    SEGMENT: tl.constexpr,
):
    """dx = (g [column is the target's] - p (g + h (log p + H))) dz/dx, of a segment."""
    row = tl.program_id(0) // segments
    start = tl.program_id(0) % segments * SEGMENT
    stop = tl.minimum(width, start + SEGMENT)
    target = tl.load(targets + row)
    lanes = tl.arange(0, BLOCK)
    source = logits + start_of(row, group, far, near)
    sink = out + start_of(row, out_group, out_far, out_near)
    if target == ignored:
        for done in range(start, stop, BLOCK):
            columns = done + lanes
            tl.store(sink + columns, tl.zeros((BLOCK,), out.dtype.element_ty), mask=columns < stop)
    else:
        if temperatures is not None:
            temperature = tl.load(temperatures + row)
        inner, outer = coefficients(temperature, scale, softcap, SOFTCAP)
        m, log = tl.load(largest + row), tl.load(logsum + row)
        g, h, level = 0.0, 0.0, 0.0
        if of_logp is not None:
            g = tl.load(of_logp + row)
        if of_entropy is not None:
            h = tl.load(of_entropy + row)
            level = tl.load(entropy + row)
        whole = start + (stop - start) // BLOCK * BLOCK
        for done in range(start, whole, BLOCK):
            columns = done + lanes
            x = tl.load(source + columns).to(tl.float32)
            dx = _gradient(x, columns == target - first, inner, outer, m, log, g, h, level, SOFTCAP)
            tl.store(sink + columns, dx.to(out.dtype.element_ty))
        if whole < stop:
            columns = whole + lanes
            there = columns < stop
            x = tl.load(source + columns, mask=there, other=0.0).to(tl.float32)
            dx = _gradient(x, columns == target - first, inner, outer, m, log, g, h, level, SOFTCAP)
            tl.store(sink + columns, dx.to(out.dtype.element_ty), mask=there)


@triton.jit
def _gradient(x, chosen, inner, outer, m, log, g, h, level, SOFTCAP: tl.constexpr):
    surprise = (z_of(x, inner, outer, SOFTCAP) - m) - log  # log p
    p = exponential(surprise)
    share = g + h * (tl.where(p == 0.0, 0.0, surprise) + level)
    return (tl.where(chosen, g, 0.0) - p * share) * slope_of(x, inner, outer, SOFTCAP)
