"""Numbers as pictures and as text: curves for SVG, ticks a person would choose, values a person can read.

A curve lives in a square of 1000 by 1000 that the page stretches to any size, so that it needs no script to be seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

SIDE = 1000
BUCKETS = 200  # a longer curve keeps the lowest and the highest point of each of so many buckets
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Tick:
    """A label at `at`, in per cent of the axis from its origin."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One picture: `raw` and `smooth` are SVG path data, `points` what hovering says.

    Each of `points` is [x, y, where, exact value, smoothed value], x and y in per cent from the left and the top.
    """

    title: str
    raw: str
    smooth: str
    x: list[Tick]
    y: list[Tick]
    points: list[tuple[float, float, str, str, str]]
    last: str
    told: str


def curve(title: str, series: Sequence[Point]) -> Chart:
    """A metric over steps: `series` holds (step, value), at least one, steps rising."""
    steps, values = [step for step, _ in series], [value for _, value in series]
    smooth = smoothed(values)
    x, y = Axis.of(steps, whole=True), Axis.of(values)
    kept = thinned(values)
    exact = [(x.at(steps[i]), 100 - y.at(values[i])) for i in kept]
    drawn = [(x.at(steps[i]), 100 - y.at(smooth[i])) for i in kept]
    points = [
        (*place, f"step {steps[i]:,.0f}", number(values[i]), number(smooth[i]))
        for i, place in zip(kept, drawn, strict=True)
    ]
    told = f"{title}: {number(smooth[0])} at step {steps[0]:.0f}, {number(smooth[-1])} at step {steps[-1]:.0f}"
    return Chart(title, path(exact), path(drawn), x.ticks, y.ticks, points, number(smooth[-1]), told)


def trajectory(title: str, across: Sequence[float], up: Sequence[float], steps: Sequence[float]) -> Chart:
    """One metric against another, both smoothed, from the first step to the last; dots are the steps as measured."""
    smooth_across, smooth_up = smoothed(across), smoothed(up)
    x, y = Axis.of(across), Axis.of(up)
    kept = thinned(up)
    dots = [(x.at(across[i]), 100 - y.at(up[i])) for i in kept]
    drawn = [(x.at(smooth_across[i]), 100 - y.at(smooth_up[i])) for i in kept]
    points = [
        (*place, f"step {steps[i]:,.0f}", number(smooth_up[i]), number(smooth_across[i]))
        for i, place in zip(kept, drawn, strict=True)
    ]
    told = f"{title}, from ({number(smooth_across[0])}, {number(smooth_up[0])})"
    told += f" to ({number(smooth_across[-1])}, {number(smooth_up[-1])})"
    return Chart(title, "".join(path([dot]) for dot in dots), path(drawn), x.ticks, y.ticks, points, "", told)


@dataclass(frozen=True, slots=True)
class Axis:
    """A range with round ends and its ticks."""

    low: float
    high: float
    ticks: list[Tick]

    @classmethod
    def of(cls, values: Sequence[float], *, whole: bool = False) -> Axis:
        """The axis that holds `values`; one of whole numbers, such as steps, ends where they end."""
        low, high = min(values), max(values)
        if low == high:
            margin = abs(low) / 2 or 0.5
            low, high = low - margin, high + margin
        step = round_step((high - low) / 4)
        if whole:
            step = math.ceil(step)
        else:
            low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        marks = [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
        axis = cls(low, high, [])
        axis.ticks.extend(Tick(axis.at(mark), tick_label(mark, step)) for mark in marks)
        return axis

    def at(self, value: float) -> float:
        """Where `value` lies, in per cent."""
        return round((value - self.low) / (self.high - self.low) * 100, 2)


def round_step(step: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is at least `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return float(next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= step * (1 - 1e-9)))


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average over about `span(len(values))` values, without the usual pull towards the first."""
    keep = 1 - 2 / (span(len(values)) + 1)
    traces = 1e-6 * max(map(abs, values), default=0)  # what is left of values long past, and nothing besides
    total = weight = 0.0
    means = []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        means.append(total / weight if abs(total / weight) > traces else 0.0)
    return means


def span(count: int) -> int:
    """How many of `count` values the smoothed curve looks back on; 1, which is no smoothing, for a short run."""
    return 1 if count < 8 else max(3, count // 12)


def thinned(values: Sequence[float]) -> list[int]:
    """Indices that keep the look of a long curve: the ends, and the lowest and highest of each bucket."""
    if len(values) <= 2 * BUCKETS:
        return list(range(len(values)))
    edges = [len(values) * bucket // BUCKETS for bucket in range(BUCKETS + 1)]
    kept = {0, len(values) - 1}
    for start, end in pairwise(edges):
        kept |= {min(range(start, end), key=values.__getitem__), max(range(start, end), key=values.__getitem__)}
    return sorted(kept)


def path(places: Sequence[Point]) -> str:
    """SVG path data through places in per cent; a single place becomes a dot where line caps are round."""
    scaled = [f"{x * SIDE / 100:.0f} {y * SIDE / 100:.0f}" for x, y in places]
    return f"M{scaled[0]}h0" if len(scaled) == 1 else "M" + "L".join(scaled)


def number(value: float) -> str:
    """Three significant digits, with separators and a true minus sign: 0.500, 128, 1,280, 1.28 M, 1.3 × 10⁻⁶."""
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-4:
        mantissa, _, exponent = f"{size:.1e}".partition("e")
        text = f"{mantissa.removesuffix('.0')} × 10{str(int(exponent)).translate(SUPERSCRIPT)}"
    elif size >= 999_500:
        power, unit = next((p, unit) for p, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M")) if size >= 0.9995 * p)
        text = f"{size / power:#.3g}".removesuffix(".") + f" {unit}"
    elif size >= 999.5:
        text = f"{size:,.0f}"
    else:
        text = f"{size:#.3g}".removesuffix(".") if size else "0"
    return f"−{text}" if value < 0 and text != "0" else text


def score(value: float) -> str:
    """Three decimals, so that scores in a column line up; `number` where those would hide it."""
    if 0 < abs(value) < 0.001 or abs(value) >= 1000:
        return number(value)
    return f"{abs(value):.3f}" if value >= 0 else f"−{abs(value):.3f}"


def signed(value: float) -> str:
    """`score` with its sign, for a change."""
    return score(value) if value < 0 else f"+{score(value)}"


def tick_label(value: float, step: float) -> str:
    """A tick's value with the decimals that its axis needs."""
    if step >= 1e5 or step < 1e-4:
        return number(round(value / step) * step)
    decimals = max(
        0, -math.floor(math.log10(step) + 1e-9) + (round(step / 10 ** math.floor(math.log10(step)), 3) == 2.5)
    )
    text = f"{abs(value):,.{decimals}f}"
    return f"−{text}" if value < 0 and float(text.replace(",", "")) else text
