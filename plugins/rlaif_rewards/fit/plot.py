"""The reliability of a fitted model as a picture: how often what it said at each chance came true.

One SVG that needs nothing else to be seen: no script, no font, no style of a page around it. It follows what the reader
has set, light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

SIDE, LEFT, TOP, BARS = 320, 56, 44, 48  # of the square; space beside and above it; height of the counts below
QUANTILE = 1.96  # of the normal distribution, for intervals of 95 %
WIDTH, HEIGHT = LEFT + SIDE + 24, TOP + SIDE + 96 + BARS
STYLE = """
svg { --ground: #fff; --ink: #1f2328; --faint: #57606a; --grid: #d8dee4; --own: #0550ae; --bars: #b6cdea }
@media (prefers-color-scheme: dark) {
svg { --ground: #0d1117; --ink: #e6edf3; --faint: #9198a1; --grid: #30363d; --own: #79b8ff; --bars: #27476e }
}
text { font: 12px system-ui, sans-serif; fill: var(--faint) }
.title { font-size: 14px; fill: var(--ink) }
.grid { stroke: var(--grid) }
.ideal { stroke: var(--faint); stroke-dasharray: 4 4 }
.own { stroke: var(--own); stroke-width: 2; fill: none; stroke-linejoin: round }
.sure { stroke: var(--own); stroke-width: 1.5; opacity: 0.45 }
.dot { fill: var(--own); stroke: var(--ground); stroke-width: 1.5 }
.bar { fill: var(--bars) }
"""


def reliability_plot(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    """SVG of rows as `report.json` has them (low, high, count, predicted, observed); empty ones are left out.

    Above: what was said on the mean of each row against the share that came true with its interval of 95 %, the dashed
    line being perfect; below: how many there are in each.
    """
    told = [row for row in rows if row["count"]]
    said = "; ".join(f"{row['predicted']:.2f}: {row['observed']:.2f} of {row['count']}" for row in told)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title><desc>Said: came true. {said}</desc><style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="var(--ground)"/>',
        f'<text class="title" x="{LEFT}" y="26">{escape(title)}</text>',
        *_axes(),
    ]
    points = [(_x(row["predicted"]), _y(row["observed"])) for row in told]
    parts.append(f'<polyline class="own" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
    for (x, y), row in zip(points, told, strict=True):
        low, high = (_y(share) for share in wilson(row["observed"], row["count"]))
        parts.append(f'<line class="sure" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        hint = f"said {row['predicted']:.3f}, came true {row['observed']:.3f}, {row['count']} times"
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{hint}</title></circle>')
    return "\n".join([*parts, *_counts(told), "</svg>"]) + "\n"


def wilson(share: float, count: int) -> tuple[float, float]:
    """The interval of 95 % around a share of so many (Wilson 1927)."""
    more = QUANTILE**2 / count
    middle, reach = share + more / 2, QUANTILE * math.sqrt((share * (1 - share) + more / 4) / count)
    return max((middle - reach) / (1 + more), 0.0), min((middle + reach) / (1 + more), 1.0)


def _axes() -> list[str]:
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = _x(tick), _y(tick)
        parts += [
            f'<line class="grid" x1="{LEFT}" x2="{LEFT + SIDE}" y1="{y}" y2="{y}"/>',
            f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{TOP + SIDE}"/>',
            f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:g}</text>',
            f'<text x="{x}" y="{TOP + SIDE + 18}" text-anchor="middle">{tick:g}</text>',
        ]
    middle = TOP + SIDE / 2
    return [
        *parts,
        f'<line class="ideal" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>',
        f'<text x="{LEFT + SIDE / 2}" y="{TOP + SIDE + 38}" text-anchor="middle">said</text>',
        f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">came true</text>',
    ]


def _counts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A bar a row, the tallest named."""
    most = max((row["count"] for row in rows), default=1)
    bottom = HEIGHT - 24
    parts = []
    for row in rows:
        tall = BARS * row["count"] / most
        left, right = _x(row["low"]), _x(row["high"])
        wide = max(right - left - 2, 1)
        parts.append(
            f'<rect class="bar" x="{left + 1:.1f}" y="{bottom - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}">'
            f"<title>{row['count']}</title></rect>"
        )
    parts.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + SIDE}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text x="{LEFT - 8}" y="{bottom - BARS + 10}" text-anchor="end">{most}</text>')
    return [*parts, f'<text x="{LEFT + SIDE / 2}" y="{HEIGHT - 8}" text-anchor="middle">how many</text>']


def _x(share: float) -> float:
    return LEFT + SIDE * share


def _y(share: float) -> float:
    return TOP + SIDE * (1 - share)
