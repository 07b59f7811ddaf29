"""GAE and V-trace as an associative scan over each row's blocks, from the right.

What follows a token is a state: whether there is an unmasked token at all, the value V' of the next one, and its excess
x' over the value (GAE's advantage; V-trace's v - V). A token maps the state to its left: with none following it makes
x = none; else x = a x' + b V' + c. Maps of this form compose to one of the same form, so they can be scanned.

A row is cut into blocks of BLOCK tokens from its beginning. One program may go through all of them, or one program may
take each, once the states between them are chained up: the arithmetic is the same, and so are the bits.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["chain", "scan"]


@triton.jit
def _term(coefficient, x):
    """Their product; a coefficient of 0 is a cut, through which NaN must not come."""
    return tl.where(coefficient == 0.0, 0.0, coefficient * x)


@triton.jit
def _composed(some0, value0, a0, b0, c0, none0, some, value, a, b, c, none):
    """The map 0 (of what is further right), then the other."""
    after = some0 > 0
    known = _term(b, value0) + c  # V' is map 0's own, whatever follows that
    return (
        some0 | some,
        tl.where(some > 0, value, value0),
        _term(a, a0),
        tl.where(after, _term(a, b0), b),
        tl.where(after, _term(a, c0) + known, c),
        tl.where(after, _term(a, none0) + known, none),
    )


@triton.jit
def _followed(some0, value0, excess0, some, value, a, b, c, none):
    """The state to the left of a map, from the state 0 to its right."""
    excess = tl.where(some0 > 0, _term(a, excess0) + (_term(b, value0) + c), none)
    return some0 | some, tl.where(some > 0, value, value0), excess


@triton.jit
def _offset(cu_seqlens, row, total):
    """Where a packed row begins. Offsets on a GPU were not looked at: they shall not lead out of the tensors."""
    return tl.minimum(tl.maximum(tl.load(cu_seqlens + row).to(tl.int64), 0), total)


@triton.jit
def _located(slot, cu_seqlens, total, rows, steps, BLOCK: tl.constexpr):
    """(row, block in it, where the row begins, its length) of a place in the list of all rows' blocks.

    Packed rows begin in the list at cu_seqlens[row] // BLOCK + row, which leaves enough for each and needs no sum. A
    block below 0 is in no row, nor is one behind its end.
    """
    if cu_seqlens is None:
        blocks = tl.cdiv(steps, BLOCK)
        row = (slot // blocks).to(tl.int64)
        return row, slot % blocks, row * steps, steps.to(tl.int64)
    else:
        low, high = slot * 0, slot * 0 + rows
        while high - low > 1:
            middle = (low + high) // 2
            beyond = _offset(cu_seqlens, middle, total) // BLOCK + middle > slot
            low, high = tl.where(beyond, low, middle), tl.where(beyond, middle, high)
        begin, end = _offset(cu_seqlens, low, total), _offset(cu_seqlens, low + 1, total)
        return low.to(tl.int64), (slot - begin // BLOCK - low).to(tl.int32), begin, end - begin


@triton.jit
def _weights(log_ratios, at, there, rho_clip, trace_clip, DTYPE: tl.constexpr):
    """(rho, c / lambda) of tokens: 1 without ratios. NaN is not clipped."""
    if log_ratios is None:
        return tl.full(at.shape, 1.0, DTYPE), tl.full(at.shape, 1.0, DTYPE)
    else:
        ratio = tl.exp(tl.load(log_ratios + at, mask=there, other=0.0).to(DTYPE))
        return tl.where(ratio > rho_clip, rho_clip, ratio), tl.where(ratio > trace_clip, trace_clip, ratio)


@triton.jit
def _flags(flags, at, there):
    if flags is None:
        return there & False
    else:
        return tl.load(flags + at, mask=there, other=0) != 0


@triton.jit
def _numbers(given, at, there, DTYPE: tl.constexpr):
    if given is None:
        return tl.zeros(at.shape, DTYPE)
    else:
        return tl.load(given + at, mask=there, other=0.0).to(DTYPE)


@triton.jit
def _maps(
    rewards, values, mask, dones, next_values, log_ratios,
    at, there, gamma, lam, rho_clip, trace_clip, DTYPE: tl.constexpr,
):  # fmt: skip
    """Of the tokens `at`, all that are `there`; nothing is read off the mask."""
    here = _flags(mask, at, there)
    done = _flags(dones, at, here)
    reward, value = _numbers(rewards, at, here, DTYPE), _numbers(values, at, here, DTYPE)
    rho, trace = _weights(log_ratios, at, here, rho_clip, trace_clip, DTYPE)
    on = rho * (reward - value)
    end = rho * (reward + gamma * _numbers(next_values, at, here, DTYPE) - value)
    a = tl.where(here, tl.where(done, 0.0, gamma * lam * trace), 1.0)
    b = tl.where(here, tl.where(done, 0.0, gamma * rho), 0.0)
    c = tl.where(here, tl.where(done, end, on), 0.0)
    return here.to(tl.int32), value, a, b, c, tl.where(here, end, 0.0)


@triton.jit(do_not_specialize=["total", "rows", "steps"])
def scan(
    rewards,  # [B,T] or [N], dense, as are all tensors of its shape
    values,
    mask,  # uint8
    dones,  # uint8 or None
    next_values,  # or None
    log_ratios,  # None: GAE
    first,  # advantages; V-trace: targets
    second,  # returns; V-trace: advantages
    gamma,
    lam,
    rho_clip,
    trace_clip,
    numbers,  # [4,B]: these four, one a row; or None
    cu_seqlens,  # [B+1] or None
    total,  # N
    rows,
    steps,  # T
    maps,  # [slots,6]: the blocks' maps are written here, and nothing else is
    carries,  # [slots,3]: the states to the right of the blocks, from `chain`; or None
    WHOLE: tl.constexpr,  # a program takes a row, of B; else a block, of all there are
    DTYPE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    slot = tl.program_id(0).to(tl.int64)
    if WHOLE:
        row, block, begin, length = slot, tl.cdiv(steps, BLOCK) - 1, slot * steps, steps.to(tl.int64)
    else:
        row, block, begin, length = _located(slot, cu_seqlens, total, rows, steps, BLOCK)
    if numbers is not None:
        gamma, lam = tl.load(numbers + row), tl.load(numbers + rows + row)
        rho_clip, trace_clip = tl.load(numbers + 2 * rows + row), tl.load(numbers + 3 * rows + row)
    some0, value0, excess0 = tl.full((), 0, tl.int32), tl.full((), 0.0, DTYPE), tl.full((), 0.0, DTYPE)
    if carries is not None:
        some0 = tl.load(carries + slot * 3).to(tl.int32)
        value0, excess0 = tl.load(carries + slot * 3 + 1), tl.load(carries + slot * 3 + 2)
    lanes = tl.arange(0, BLOCK)
    shift = 0 if log_ratios is None else 1
    # GAE's results are the state to the left of each token; V-trace's come from the state to the right of it, for
    # which the tokens are shifted by one. A program that takes one block makes one turn, or none outside of the row.
    turns = tl.where((block >= 0) & (block * BLOCK < length), 1, 0)
    if WHOLE:
        turns = block + 1
    for turn in range(turns):
        place = (block - turn) * BLOCK + (BLOCK - 1) - lanes  # the last token first, by its index
        t = place + shift
        some, value, a, b, c, none = tl.associative_scan(
            _maps(
                rewards, values, mask, dones, next_values, log_ratios,
                begin + t, t < length, gamma, lam, rho_clip, trace_clip, DTYPE,
            ), 0, _composed,
        )  # fmt: skip
        last = lanes == BLOCK - 1
        if maps is not None:
            to = maps + slot * 6 + tl.zeros((BLOCK,), tl.int32)
            tl.store(to, some.to(DTYPE), mask=last)
            tl.store(to + 1, value, mask=last)
            tl.store(to + 2, a, mask=last)
            tl.store(to + 3, b, mask=last)
            tl.store(to + 4, c, mask=last)
            tl.store(to + 5, none, mask=last)
        else:
            some, value, excess = _followed(some0, value0, excess0, some, value, a, b, c, none)
            at, there = begin + place, place < length
            here = _flags(mask, at, there)
            own = _numbers(values, at, here, DTYPE)
            if log_ratios is None:
                one, two = excess, excess + own
            else:
                rho, trace = _weights(log_ratios, at, here, rho_clip, trace_clip, DTYPE)
                ends = _flags(dones, at, here) | (some == 0)
                after = tl.where(ends, _numbers(next_values, at, here, DTYPE), value)
                delta = _numbers(rewards, at, here, DTYPE) + gamma * after - own
                follows = gamma * tl.where(ends, 0.0, excess)
                one, two = rho * delta + lam * trace * follows + own, rho * (delta + follows)
            tl.store(first + at, tl.where(here, one, 0.0), mask=there)
            tl.store(second + at, tl.where(here, two, 0.0), mask=there)
            if WHOLE:
                some0 = tl.max(some, 0)
                value0 = tl.sum(tl.where(last, value, 0.0), 0)
                excess0 = tl.sum(tl.where(last, excess, 0.0), 0)


@triton.jit(do_not_specialize=["total", "steps"])
def chain(maps, carries, cu_seqlens, total, steps, DTYPE: tl.constexpr, BLOCK: tl.constexpr):
    """The state to the right of each block of a row, from the last to the first: [slots,6] -> [slots,3]."""
    row = tl.program_id(0).to(tl.int64)
    if cu_seqlens is None:
        blocks = tl.cdiv(steps, BLOCK).to(tl.int64)
        slot = row * blocks
    else:
        begin, end = _offset(cu_seqlens, row, total), _offset(cu_seqlens, row + 1, total)
        blocks = tl.cdiv(tl.maximum(end - begin, 0), BLOCK)
        slot = begin // BLOCK + row
    some, value, excess = tl.full((), 0, tl.int32), tl.full((), 0.0, DTYPE), tl.full((), 0.0, DTYPE)
    for turn in range(blocks):
        to = carries + (slot + blocks - 1 - turn) * 3
        tl.store(to, some.to(DTYPE))
        tl.store(to + 1, value)
        tl.store(to + 2, excess)
        of = maps + (slot + blocks - 1 - turn) * 6
        some, value, excess = _followed(
            some,
            value,
            excess,
            tl.load(of).to(tl.int32),
            tl.load(of + 1),
            tl.load(of + 2),
            tl.load(of + 3),
            tl.load(of + 4),
            tl.load(of + 5),
        )
