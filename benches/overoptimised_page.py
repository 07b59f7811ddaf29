"""What was found when a judge was over-optimised, as a page of Markdown and a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from statistics import fmean, stdev

from overoptimised import Course

SPAN = 5
"""Steps of a run that are averaged where it is read off."""
LEVELS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""KL at which runs are compared, in nats."""
SAID = {
    "b0": "the judge, beta 0 (undefended)",
    "b05": "the judge, beta 0.05",
    "b15": "the judge, beta 0.15",
    "b30": "the judge, beta 0.3",
    "par": "bounded (PAR), beta 0.05",
    "lenfree": "length-free, beta 0.05",
    "stopped": "the judge, beta 0, ended by the canary",
    "mean": "mean of three new judges, beta 0.05",
    "minimum": "minimum of the three, beta 0.05",
    "soft_minimum": "soft minimum of the three, beta 0.05",
    "single": "one of the three, beta 0.05",
    "warm": "their weights averaged (WARM), beta 0.05",
}
PLAIN = ("b0", "b05", "b15", "b30")
COLOURS = (
    "#0969da",
    "#bc4c00",
    "#1a7f37",
    "#8250df",
    "#bf3989",
    "#9a6700",
    "#57606a",
    "#0550ae",
    "#953800",
    "#116329",
    "#6e40c9",
    "#a40e26",
)
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 460, 60, 220, 30, 46

Runs = Mapping[str, Sequence[Course]]


def smooth(values: Sequence[float]) -> list[float]:
    """Means of `SPAN` neighbours."""
    half = SPAN // 2
    return [fmean(values[max(0, at - half) : at + half + 1]) for at in range(len(values))]


def at_kl(course: Course, kl: float) -> float | None:
    """Gold where the KL first reaches so much, between neighbours by the line in sqrt(KL); None beyond."""
    kls, golds = course.kl, course.gold
    if not course.error:  # a run, which is noisy; best of n has few points and no noise between them
        kls, golds = smooth(kls), smooth(golds)
    for (one, low), (other, high) in pairwise(zip(kls, golds, strict=True)):
        if one <= kl <= other:
            a, b, d = (math.sqrt(max(it, 0.0)) for it in (one, other, kl))
            return low if a == b else low + (high - low) * (d - a) / (b - a)
    return None


def page(selected: Sequence[Course], runs: Runs, prompts: int, size: int) -> str:
    """The figures as Markdown."""
    lines = [
        "# Over-optimisation of a judge, and what defences do",
        "",
        "By `python benches/bench_overoptimisation.py --save`. Gold is the embedded world's oracle, which trains "
        "nothing; the proxy is what was pressed. KL is to the policy at the start, in nats an answer; that of a run is "
        "the mean log-ratio (k1), because single answers dominate the mean of k3.",
        "",
        "![gold against the square root of KL](overoptimisation.svg)",
        "",
        "## Best of n",
        "",
        f"Of {size} answers to each of {prompts} prompts, by the unbiased estimator; +- is the standard error over "
        "prompts. At one n all have one KL, so that whoever stands higher there is better, and not only more careful. "
        "Bounding a score (PAR) changes no order within a prompt, and no best of n.",
        "",
    ]
    sizes = [2**power for power in range(len(selected[0].kl))]
    lines += [
        "| gold of the best by | " + " | ".join(f"n = {n}" for n in sizes) + " | fillers, last n | d* |",
        "|---|" + "--:|" * (len(sizes) + 2),
    ]
    for its in selected:
        golds = [f"{gold:.2f} +- {error:.2f}" for gold, error in zip(its.gold, its.error, strict=True)]
        filler = f"{its.hacks['filler']:.2f}" if "filler" in its.hacks else "-"
        lines.append(f"| {its.name} | {' | '.join(golds)} | {filler} | {_peak(its)} |")
    kls = ", ".join(f"{kl:.2f}" for kl in selected[0].kl)
    lines += [
        "",
        f"KL of best of n: {kls}. The quantiliser's q is 1/n and its KL log n, {selected[-1].kl[-1]:.2f} at the last; "
        "at the KL of best of n it stands at "
        + ", ".join(_or_dash(at_kl(selected[-1], kl)) for kl in selected[0].kl)
        + ". d* is the peak of the fitted curve d (alpha - beta d), in sqrt(nats). What each gains at the same n, "
        "prompt by prompt (more than two errors in bold): a panel over what its members reach alone on average, all "
        "others over the packaged judge.",
        "",
        "| gold above the plain judge's | " + " | ".join(f"n = {n}" for n in sizes[1:]) + " |",
        "|---|" + "--:|" * (len(sizes) - 1),
    ]
    lines += [
        f"| {its.name} | {' | '.join(_gain(*above) for above in its.above[1:])} |" for its in selected[1:] if its.above
    ]
    if runs:
        lines += ["", "## Reinforcement learning", "", *_learning(runs)]
    return "\n".join(lines) + "\n"


def _learning(runs: Runs) -> list[str]:
    first = next(iter(runs.values()))[0]
    lines = [
        f"`reinforce` with `leave_one_out`, {len(first.kl)} steps; the sweep is of the packaged judge, and so are PAR "
        f"and length-free; gold is of the {SPAN * 2} last steps, the peak of the best {SPAN} in a row; +- is the "
        "standard deviation over seeds, but the standard error of what is above the sweep: gold at the end less that "
        "of the plain runs over beta at the same KL, between the ends of two of them by the line in sqrt(KL). What is "
        "above the sweep is better, what is not has only stopped elsewhere on it. The canary is the oracle itself; a "
        "quantiliser chooses among answers and trains nothing.",
        "",
        "| trained on | seeds | KL at the end | proxy | gold at its peak | gold at the end | above the sweep | fillers "
        "| words | d* |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, courses in runs.items():
        columns = (
            _mean([fmean(its.kl[-2 * SPAN :]) for its in courses], 1),
            _mean([fmean(its.proxy[-2 * SPAN :]) for its in courses]),
            _mean([max(smooth(its.gold)[SPAN // 2 : -(SPAN // 2)]) for its in courses]),
            _mean([fmean(its.gold[-2 * SPAN :]) for its in courses]),
            "" if name in PLAIN or (it := above(courses, runs)) is None else f"{it[0]:+.2f} +- {it[1]:.2f}",
            *(_mean([its.hacks[what] for its in courses]) for what in ("filler", "length")),
            " ".join(_peak(its) for its in courses),
        )
        lines.append(f"| {SAID[name]} | {len(courses)} | {' | '.join(columns)} |")
    lines += ["", *_verdict(runs)]
    lines += [
        "",
        f"On the way, gold where the means of {SPAN} steps first cross a KL (known to about 0.05 a run):",
        "",
        "| trained on | " + " | ".join(f"KL {kl:g}" for kl in LEVELS) + " |",
        "|---|" + "--:|" * len(LEVELS),
    ]
    for name, courses in runs.items():
        cells = []
        for kl in LEVELS:
            golds = [gold for its in courses if (gold := at_kl(its, kl)) is not None]
            cells.append(_mean(golds) if golds else "-")
        lines.append(f"| {SAID[name]} | {' | '.join(cells)} |")
    said = [
        f"seed {its.name.rpartition('-')[2]}: at step {its.alarm}, with gold at {smooth(its.gold)[its.alarm - 1]:.2f}"
        for its in runs.get("b0", ())
        if its.alarm
    ]
    if said:
        lines += ["", f"In the undefended runs the canary first alarmed: {'; '.join(said)}."]
    return lines


def end(courses: Sequence[Course]) -> tuple[float, float, float]:
    """KL and gold of the last steps, the means of all seeds, and the standard error of gold (nan of one alone)."""
    kls, golds = (
        [fmean(its[-2 * SPAN :]) for its in each] for each in zip(*((c.kl, c.gold) for c in courses), strict=True)
    )
    error = stdev(golds) / math.sqrt(len(golds)) if len(golds) > 1 else math.nan
    return fmean(kls), fmean(golds), error


def above(courses: Sequence[Course], runs: Runs) -> tuple[float, float] | None:
    """By how much gold at the end is above the line through the ends of the plain runs at the same sqrt(KL), and the
    standard error of that; None outside of these."""
    plain = sorted(end(runs[name]) for name in PLAIN if name in runs)
    kl, gold, error = end(courses)
    for (one, low, its), (other, high, theirs) in pairwise(plain):
        if one <= kl <= other:
            a, b, d = (math.sqrt(it) for it in (one, other, kl))
            way = (d - a) / (b - a)
            return gold - low - (high - low) * way, math.hypot(error, (1 - way) * its, way * theirs)
    return None


def _verdict(runs: Runs) -> list[str]:
    """Who has moved the frontier and who has moved along it."""
    found = {SAID[name]: above(courses, runs) for name, courses in runs.items() if name not in PLAIN}
    verdicts = {
        "Gold is lifted at equal KL": [name for name, it in found.items() if it and it[0] > 2 * it[1]],
        "Only moved along the sweep, within two standard errors": [
            name for name, it in found.items() if it and abs(it[0]) <= 2 * it[1]
        ],
        "Below the sweep": [name for name, it in found.items() if it and it[0] < -2 * it[1]],
        "Outside of the sweep's KL": [name for name, it in found.items() if it is None],
        "Known from one seed alone": [name for name, it in found.items() if it and math.isnan(it[1])],
    }
    return [f"- {verdict}: {'; '.join(names)}." for verdict, names in verdicts.items() if names]


def _gain(gain: float, error: float) -> str:
    text = f"{gain:+.3f} +- {error:.3f}"
    return f"**{text}**" if abs(gain) > 2 * error else text


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _mean(values: Sequence[float], digits: int = 2) -> str:
    spread = f" +- {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"


def _peak(course: Course) -> str:
    if course.frontier is None:
        return "-"
    peak = course.frontier.peak
    return f"{peak:.2f}" if peak < 2 * math.sqrt(max(*course.kl, 1e-9)) else "beyond"


def figure(selected: Sequence[Course], runs: Runs) -> str:
    """Gold over sqrt(KL): lines for runs (first seed), dots and dashes for best of n."""
    curves = [(SAID[name], courses[0], False) for name, courses in runs.items() if name != "stopped"]
    curves += [
        (f"best of n: {its.name}", its, True) for its in selected if its.name in ("packaged judge", "gold itself")
    ]
    places = []
    for label, its, few in curves:
        kls, golds = (its.kl, its.gold) if few else (smooth(its.kl), smooth(its.gold))
        places.append((label, [(math.sqrt(max(kl, 0.0)), it) for kl, it in zip(kls, golds, strict=True)], few))
    right = max(x for _, points, _ in places for x, _ in points)
    golds = [y for _, points, _ in places for _, y in points]
    low, high = min(*golds, 0.0), max(golds) * 1.05

    def x(d: float) -> float:
        return LEFT + d / right * (WIDTH - LEFT - RIGHT)

    def y(gold: float) -> float:
        return TOP + (high - gold) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
    ]
    for tick in range(math.floor(low * 5), math.ceil(high * 5) + 1):
        if low <= tick / 5 <= high:
            parts.append(f'<path d="M{LEFT} {y(tick / 5):.1f}H{WIDTH - RIGHT}" stroke="#d8dee4"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{y(tick / 5) + 4:.1f}" text-anchor="end">{tick / 5:.1f}</text>')
    parts += [
        f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick}</text>'
        for tick in range(math.floor(right) + 1)
    ]
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">√KL, √nats an answer</text>'
    )
    parts.append(f'<text x="{LEFT}" y="18">gold</text>')
    for number, (label, points, few) in enumerate(places):
        colour, dash = COLOURS[number % len(COLOURS)], ' stroke-dasharray="4 3"' if few else ""
        line = "M" + "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in points)
        parts.append(f'<path d="{line}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>')
        if few:
            parts += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="{colour}"/>' for a, b in points]
        height = TOP + 16 * number + 8
        parts.append(f'<path d="M{WIDTH - RIGHT + 10} {height}h18" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 34}" y="{height + 4}" font-size="10">{escape(label)}</text>')
    return "\n".join([*parts, "</svg>", ""])
