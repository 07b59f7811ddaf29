"""A roofline as SVG: what this machine can do at most, and where every implementation stands below it.

Across: operations per byte that must be moved. Up: operations a second. The slope is the bandwidth, the flat part the
best matrix product, both measured. Every operation is a line straight down from the roof, on which its implementations
hang; ours is the filled dot. One panel a dtype; the colours follow the reader's light or dark scheme.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import product
from typing import Any

__all__ = ["roofline"]

Row = dict[str, Any]
Box = tuple[float, float, float, float]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 1040, 560, 74, 24, 84, 46
LETTER, LINE, DOT = 6.8, 14, 5.5  # pixels: the width of a letter, the height of a line, the radius of a dot
STYLE = """
  .paper { fill: #ffffff } .ink { fill: #1f2328 } .soft { fill: #59636e } .grid { stroke: #d8dee4 }
  .roof { stroke: #1f2328; stroke-width: 2; fill: none } .stem { stroke: #afb8c1 }
  .ours { fill: #0969da; stroke: #ffffff }
  .peer { fill: #ffffff; stroke: #bc4c00 } .faster { fill: #bc4c00; stroke: #bc4c00 }
  .leader { stroke: #59636e; stroke-width: 0.7 } .label { stroke: #ffffff }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } .ink { fill: #f0f6fc } .soft { fill: #9198a1 } .grid { stroke: #2a313c }
    .roof { stroke: #f0f6fc } .stem { stroke: #4b535d } .ours { fill: #58a6ff; stroke: #0d1117 }
    .peer { fill: #0d1117; stroke: #f0883e } .faster { fill: #f0883e; stroke: #f0883e }
    .leader { stroke: #9198a1 } .label { stroke: #0d1117 }
  }
  .peer, .faster { stroke-width: 1.5 }
  .label { stroke-width: 3; paint-order: stroke; stroke-linejoin: round }
  text { font: 12px system-ui, sans-serif } .head { font-weight: 600; font-size: 14px } .small { font-size: 11px }
"""
SHAPES = (
    "M-4.5,-4.5H4.5V4.5H-4.5Z",  # square
    "M0,-5.5L5.5,4.5H-5.5Z",  # triangle
    "M0,-6L6,0L0,6L-6,0Z",  # diamond
    "M0,5.5L5.5,-4.5H-5.5Z",  # triangle on its tip
    "M-6,0L-3,-5.2H3L6,0L3,5.2H-3Z",  # hexagon
    "M-6,-2.5H6V2.5H-6Z",  # lying bar
    "M-2.5,-6H2.5V6H-2.5Z",  # standing bar
    "M0,-6L1.8,-1.8L6,0L1.8,1.8L0,6L-1.8,1.8L-6,0L-1.8,-1.8Z",  # star
    "M-5,-2H-2V-5H2V-2H5V2H2V5H-2V2H-5Z",  # cross
    "M-5,-5L5,5V-5L-5,5Z",  # bow tie
    "M-5,-5H5L-5,5H5Z",  # hourglass
    "M-5.5,-3.5L0,5.5L5.5,-3.5L0,-0.5Z",  # arrowhead
    "M-5.5,4.5A5.5,5.5 0 0 1 5.5,4.5Z",  # dome
    "M-5.5,-4.5A5.5,5.5 0 0 0 5.5,-4.5Z",  # bowl
)
NAMES = {"float32": "f32", "bfloat16": "bf16"}


def roofline(title: str, limits: dict[str, Any], rows: Sequence[Row]) -> str:
    """The whole picture, from the rows of one number of threads."""
    panels = [(dtype, found) for dtype, short in NAMES.items() if (found := stems(rows, short))]
    drawn = []
    # A peer has the same shape in every panel.
    names = list(dict.fromkeys(row["impl"] for _, found in panels for stem in found for row in stem[1:]))
    for number, (dtype, found) in enumerate(panels):
        panel = Panel(limits, dtype, found, names)
        drawn.append(f'<g transform="translate(0,{number * HEIGHT})">{panel.drawn(title)}</g>')
    height = HEIGHT * len(panels)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    paper = f'<rect class="paper" width="{WIDTH}" height="{height}"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", paper, *drawn, "</svg>"]) + "\n"


def stems(rows: Sequence[Row], dtype: str) -> list[list[Row]]:
    """For each operation and pass the rows of its largest case, the best of ours first."""
    found: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        cache = "cold" if row["device"] != "cpu" else "hot"
        measured = row["status"] == "measured" and row["dtype"] == dtype and row["cache"] == cache
        if measured and row["phase"] != "backward" and "call itself" not in row["case"]:
            found[row["op"], row["phase"]][row["case"]].append(row)
    for cases in found.values():
        for case in [case for case, its in cases.items() if not any(row.get("ours") for row in its)]:
            del cases[case]
    largest = [
        max(cases.values(), key=lambda its: its[0]["gflops"] * its[0]["ms"]) for cases in found.values() if cases
    ]
    fastest = [min((row for row in its if row.get("ours")), key=lambda row: row["ms"]) for its in largest]
    return [[ours, *(row for row in its if not row.get("ours"))] for ours, its in zip(fastest, largest, strict=True)]


@dataclass
class Panel:
    """One dtype: axes, roof, and stems with their dots and labels."""

    limits: dict[str, Any]
    dtype: str
    stems: list[list[Row]]
    names: list[str]
    """Of the peers, in the order of their shapes."""
    taken: list[Box] = field(default_factory=list)
    """Where dots and labels are."""
    lines: list[tuple[float, float, float]] = field(default_factory=list)
    """x of the operations' lines, and their ends."""

    def __post_init__(self) -> None:
        rows = [row for stem in self.stems for row in stem]
        self.flat = self.limits["products"][self.dtype] / 1e9
        self.slope = max(self.limits["copy"], self.limits["read"]) / 1e9
        self.left = 10 ** math.floor(math.log10(min(row["intensity"] for row in rows) / 1.2))
        self.right = 10 ** math.ceil(math.log10(max(self.flat / self.slope, *(row["intensity"] for row in rows)) * 1.2))
        self.low = 10 ** math.floor(math.log10(min(row["gflops"] for row in rows)))
        self.high = 10 ** math.ceil(math.log10(max(self.flat, *(row["gflops"] for row in rows)) * 1.5))

    def x(self, intensity: float) -> float:
        share = math.log(intensity / self.left) / math.log(self.right / self.left)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, gflops: float) -> float:
        share = math.log(gflops / self.low) / math.log(self.high / self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def drawn(self, title: str) -> str:
        stems, dots, ours = [], [], []
        for stem in self.stems:
            x, roof = self.x(stem[0]["intensity"]), self.y(self.roof(stem[0]["intensity"]))
            lowest = max(self.y(row["gflops"]) for row in stem)
            self.lines.append((x, roof, lowest))
            stems.append(f'<line class="stem" x1="{x:.1f}" x2="{x:.1f}" y1="{roof:.1f}" y2="{lowest:.1f}"/>')
            for row in stem:
                y = self.y(row["gflops"])
                (ours if row.get("ours") else dots).append(self.dot(row, x, y))
                self.taken.append((x - DOT, y - DOT, x + DOT, y + DOT))
        roof_line = self.roof_line()
        labels = [self.label(stem) for stem in sorted(self.stems, key=lambda stem: stem[0]["intensity"])]
        return "\n".join([*self.axes(title), *stems, *roof_line, *dots, *ours, *labels, *self.legend()])

    def roof(self, intensity: float) -> float:
        return min(self.flat, self.slope * intensity)

    def roof_line(self) -> list[str]:
        corner = self.flat / self.slope
        places = [(self.left, self.roof(self.left)), (corner, self.flat), (self.right, self.flat)]
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in places)
        flat = text(
            f"best matrix product, {self.flat:,.0f} GFLOP/s",
            self.x(corner) + 8,
            self.y(self.flat) - 7,
            "soft small",
        )
        (x, y), (far, high) = ((self.x(its), self.y(self.slope * its)) for its in (self.left, corner))
        degrees = math.degrees(math.atan2(high - y, far - x))
        turned = f"translate({(x + far) / 2:.1f},{(y + high) / 2:.1f}) rotate({degrees:.1f})"
        self.taken.append(((x + far) / 2 - 60, (y + high) / 2 - 32, (x + far) / 2 + 60, (y + high) / 2 + 8))
        slope = text(f"memory, {self.slope:,.0f} GB/s", 0, -8, "soft small", "middle")
        return [f'<polyline class="roof" points="{path}"/>', flat, f'<g transform="{turned}">{slope}</g>']

    def dot(self, row: Row, x: float, y: float) -> str:
        ratio = row.get("ratio")
        against = "" if row.get("ours") or ratio is None else f", {ratio:.2f} times ours"
        words = f"{row['op']} {row['phase']}, {row['case']}: {row['impl']}, {row['ms']:.3g} ms{against}"
        hint = f"<title>{escape(words)}</title>"
        if row.get("ours"):
            return f'<circle class="ours" cx="{x:.1f}" cy="{y:.1f}" r="{DOT}">{hint}</circle>'
        kind = "faster" if ratio is not None and ratio < 1 else "peer"
        return shape(self.names.index(row["impl"]), x, y, kind, hint)

    def label(self, stem: list[Row]) -> str:
        """The operation's name where there is room: beside its dot, or further off on a line of its own."""
        first = stem[0]
        words = first["op"] + ("" if first["phase"] == "forward" else ", and gradient")
        x, y = self.x(first["intensity"]), self.y(first["gflops"])
        size = LETTER * len(words)
        near, far = range(0, 4 * LINE, LINE // 2), range(0, 24 * LINE, LINE // 2)
        places = [*product((True,), near, (-1, 1), (True, False)), *product((False,), far, (-1, 1), (True, False))]
        for apart, away, sign, right in places:
            left, middle = x + 10 if right else x - 10 - size, y + sign * away
            box = (left - 2, middle - LINE / 2, left + size + 2, middle + LINE / 2)
            if self.free(box) and not (apart and self.crosses(box)):
                self.taken.append(box)
                edge = box[0] if right else box[2]
                leader = f'<line class="leader" x1="{x:.1f}" y1="{y:.1f}" x2="{edge:.1f}" y2="{middle:.1f}"/>'
                return (leader if away > LINE else "") + text(words, left, middle + 4, "ink label")
        return ""

    def crosses(self, box: Box) -> bool:
        """Whether a label here would lie across the line of an operation."""
        return any(box[0] < x < box[2] and top < box[3] and box[1] < low for x, top, low in self.lines)

    def free(self, box: Box) -> bool:
        """Whether a label can be here: within the panel, across neither the roof nor a dot or a label."""
        left, top, right, bottom = box
        if left < LEFT or right > WIDTH - RIGHT or top < TOP or bottom > HEIGHT - BOTTOM:
            return False
        ratio = self.right / self.left
        for place in range(int(left), int(right) + 4, 4):
            intensity = self.left * ratio ** ((place - LEFT) / (WIDTH - LEFT - RIGHT))
            if top - 3 < self.y(self.roof(intensity)) < bottom + 3:
                return False
        return not any(a < right and left < c and b < bottom and top < d for a, b, c, d in self.taken)

    def axes(self, title: str) -> list[str]:
        threads = f"{self.limits['threads']} thread{'' if self.limits['threads'] == 1 else 's'}"
        said = [text(f"{title}, {self.dtype}, {threads}", LEFT, 22, "ink head")]
        bottom, end = HEIGHT - BOTTOM, WIDTH - RIGHT
        for power in range(round(math.log10(self.left)), round(math.log10(self.right)) + 1):
            x = self.x(10.0**power)
            said.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
            said.append(text(f"{10.0**power:g}", x, bottom + 16, "soft small", "middle"))
        for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1):
            y = self.y(10.0**power)
            said.append(f'<line class="grid" x1="{LEFT}" x2="{end}" y1="{y:.1f}" y2="{y:.1f}"/>')
            said.append(text(f"{10.0**power:,g}", LEFT - 8, y + 4, "soft small", "end"))
        said.append(text("operations per byte", (LEFT + end) / 2, bottom + 36, "soft", "middle"))
        turned = f"translate(18,{(TOP + bottom) / 2}) rotate(-90)"
        upwards = text("billions of operations per second", 0, 0, "soft", "middle")
        said.append(f'<g transform="{turned}">{upwards}</g>')
        return said

    def legend(self) -> list[str]:
        """Ours, then a shape for each of the others, above the panel."""
        x, y = LEFT + DOT, 44.0
        said = [f'<circle class="ours" cx="{x}" cy="{y}" r="{DOT}"/>', text("ours", x + 11, y + 4, "ink small")]
        x += 62
        here = {row["impl"] for stem in self.stems for row in stem[1:]}
        for number, name in enumerate(self.names):
            if name not in here:
                continue
            size = 30 + 6.0 * len(name)
            if x + size > WIDTH:
                x, y = LEFT + DOT, y + LINE + 4
            said += [shape(number, x, y, "peer"), text(name, x + 11, y + 4, "ink small")]
            x += size
        return [*said, text("filled: faster than ours", x, y + 4, "soft small")] if here else said


def text(words: str, x: float, y: float, kind: str = "ink", anchor: str = "start") -> str:
    return f'<text class="{kind}" text-anchor="{anchor}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def shape(number: int, x: float, y: float, kind: str, inside: str = "") -> str:
    """The mark of the peer of this number."""
    path = SHAPES[number % len(SHAPES)]
    return f'<path class="{kind}" d="{path}" transform="translate({x:.1f},{y:.1f})">{inside}</path>'
