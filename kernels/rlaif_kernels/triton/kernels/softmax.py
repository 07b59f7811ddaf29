"""The arithmetic of a softmax that is taken in piece by piece, on tiles [R,C]: R rows, C columns of each.

Of a row the state is m, its largest z so far; the sum of e^(z - m); and the sum of e^(z - m) (z - m), for the entropy.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["PER_ROW", "coefficients", "exponential", "joined", "slope_of", "taken_in", "z_of"]

LOG2E = tl.constexpr(1.4426950408889634)
SMALL = tl.constexpr(0.2)  # below it the series of tanh is exact to float32

# Where these begin is no reason to compile a kernel anew: a piece of a batch may begin anywhere, and while a CUDA graph
# is captured, which takes other pieces than its rehearsal did, is no time to load a kernel.
PER_ROW = ("targets", "temperatures", "logp", "entropy", "largest", "logsum", "of_logp", "of_entropy")


@triton.jit
def exponential(x):
    return tl.exp2(x * LOG2E)


@triton.jit
def coefficients(temperature, scale, softcap, SOFTCAP: tl.constexpr):
    """(inner, outer): z = inner * x, or with a softcap z = outer * tanh(inner * x)."""
    if SOFTCAP:
        inner, outer = scale / softcap, softcap / temperature
    else:
        inner, outer = scale / temperature, 1.0 / temperature
    return inner, outer


@triton.jit
def z_of(x, inner, outer, SOFTCAP: tl.constexpr):
    """cap(scale * x) / temperature.

    The last product is rounded, and not fused with what z is subtracted from: the largest z is then exactly 0 below
    itself, and no probability is above 1.
    """
    if SOFTCAP:
        u = x * inner
        # From e^-2|u|, which cannot overflow, and near 0, where that cancels, from the series.
        e = exponential(-2.0 * tl.abs(u))
        t = (1.0 - e) / (1.0 + e)
        square = u * u
        series = u * (1.0 + square * (-1.0 / 3 + square * (2.0 / 15 + square * (-17.0 / 315))))
        z = tl.fma(tl.where(tl.abs(u) < SMALL, series, tl.where(u < 0, -t, t)), outer, 0.0)
    else:
        z = tl.fma(x, inner, 0.0)
    return z


@triton.jit
def slope_of(x, inner, outer, SOFTCAP: tl.constexpr):
    """dz/dx; 1 - tanh^2 is 4 e / (1 + e)^2, which does not cancel."""
    if SOFTCAP:
        e = exponential(-2.0 * tl.abs(x * inner))
        slope = inner * outer * 4.0 * e / ((1.0 + e) * (1.0 + e))
    else:
        slope = inner
    return slope


@triton.jit
def moved(moment, mass, shift, share):
    """A moment as seen from another m, `shift` away, of which e^shift is the share; 0 where it is too far to count."""
    return tl.where(share == 0.0, 0.0, share * (moment + shift * mass))


@triton.jit
def taken_in(z, m, mass, moment, MOMENT: tl.constexpr):
    """The state [R] after one more tile z [R,C]: its largest first, so that each element costs one exponential.

    z of -inf has probability 0. NaN, and a row with +inf, end up in the mass: max passes over NaN.
    """
    top = tl.maximum(m, tl.max(z, 1))
    origin = tl.where(top == float("-inf"), 0.0, top)
    below = z - origin[:, None]
    power = exponential(below)
    shift = tl.where(m == float("-inf"), 0.0, m - origin)
    shrink = exponential(shift)
    if MOMENT:
        terms = tl.where(below == float("-inf"), 0.0, power * below)
        moment = moved(moment, mass, shift, shrink) + tl.sum(terms, 1)
    return top, shrink * mass + tl.sum(power, 1), moment


@triton.jit
def joined(m, mass, moment):
    """One state [R] of C of the same rows, [R,C] each; what took in nothing, or -inf alone, has the mass 0."""
    top = tl.max(m, 1)
    origin = tl.where(top == float("-inf"), 0.0, top)
    shift = tl.where(m == float("-inf"), 0.0, m - origin[:, None])
    share = exponential(shift)
    return top, tl.sum(share * mass, 1), tl.sum(moved(moment, mass, shift, share), 1)
