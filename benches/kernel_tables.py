"""Rows of `bench_kernels.py` as Markdown: a table an operation, a line a case, a column an implementation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aims import table

__all__ = ["markdown"]

Row = dict[str, Any]
Key = tuple[str, str, str, str]
INTRODUCTION = """
Every answer was held against the definition in float64 before it was timed. A cell is the median of a call, and behind
it: of ours, the share of what this machine's limits allow (above 100 % where a cache is faster than memory); of others,
how many times as long as the best of ours it took. **Bold** where another is faster than ours. The largest error of
ours is a share of the answer's largest number. What the rows hold besides (percentiles, processor time, errors of the
others) is in the file of rows.
"""


def markdown(title: str, limits: dict[str, Any], rows: Sequence[Row], picture: str) -> str:
    """The whole page."""
    parts = [f"# Kernels on {title}", INTRODUCTION.strip(), f"![Roofline]({picture})", _limits(limits), _versions(rows)]
    by_op: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_op[row["op"]].append(row)
    threads = sorted({row["threads"] for row in rows})
    if aims := table(rows, threads[-1]):
        parts += [f"## What is aimed at, with {threads[-1]} threads", aims]
    several = len(threads) > 1
    for op, its in by_op.items():
        parts += [f"## {op}", _table(its, _time, several)]
        if any(row.get("peak_bytes", 0) >= 1 << 20 for row in its):
            parts += ["Memory allocated at the peak of a call:", _table(its, _memory, several, errors=False)]
        parts += [notes] if (notes := _notes(its)) else []
    return "\n\n".join(parts) + "\n"


def _limits(limits: dict[str, Any]) -> str:
    lines = ["| threads | copy | read | product f32 | product bf16 | clock |", "|--:|--:|--:|--:|--:|--:|"]
    for threads, its in limits.items():
        products = [f"{its['products'][dtype] / 1e9:,.0f} GFLOP/s" for dtype in ("float32", "bfloat16")]
        bandwidths = [f"{its[name] / 1e9:,.1f} GB/s" for name in ("copy", "read")]
        clock = f"{its['mhz']:,.0f} MHz" if its.get("mhz") else ""
        lines.append("| " + " | ".join([threads, *bandwidths, *products, clock]) + " |")
    return "Limits, measured in the same processes:\n\n" + "\n".join(lines)


def _versions(rows: Iterable[Row]) -> str:
    found: dict[str, str] = {}
    for row in rows:
        found |= {name: version for name, version in row.get("versions", {}).items() if version != "absent"}
    return "Versions: " + ", ".join(f"{name} {version}" for name, version in found.items())


def _table(rows: Sequence[Row], cell: Callable[[Row], str], several: bool, *, errors: bool = True) -> str:
    """Cases down, implementations across; those that were never measured are left out."""
    measured = [row for row in rows if row["status"] == "measured"]
    names = list(dict.fromkeys(row["impl"] for row in sorted(measured, key=lambda row: not row.get("ours", False))))
    lines: dict[Key, dict[str, Row]] = defaultdict(dict)
    for row in measured:
        how = f"{row['phase']} {row['cache']}" if row["cache"] != "hot" else row["phase"]
        lines[row["case"], row["dtype"], how, str(row["threads"])][row["impl"]] = row
    head = ["case", "dtype", "pass", *(["threads"] if several else []), *names, *(["error of ours"] if errors else [])]
    left = 4 if several else 3
    text = ["| " + " | ".join(head) + " |", "|" + "--|" * left + "--:|" * (len(head) - left)]
    for (case, dtype, how, threads), found in lines.items():
        cells = [cell(found[name]) if name in found else "" for name in names]
        off = [row["error"] for row in found.values() if row.get("ours")]
        worst = [f"{max(off):.0e}" if off else ""] if errors else []
        text.append("| " + " | ".join([case, dtype, how, *([threads] if several else []), *cells, *worst]) + " |")
    return "\n".join(text)


def _time(row: Row) -> str:
    ms = row["ms"]
    value, unit = (ms * 1e3, "us") if ms < 1 else (ms, "ms") if ms < 1e3 else (ms / 1e3, "s")
    time = f"{value:.{max(0, 3 - len(str(int(value))))}f} {unit}"
    if row.get("ours"):
        return f"{time} ({row['fraction']:.0%})" if row["fraction"] >= 0.005 else time
    ratio = row.get("ratio")
    if ratio is None:
        return time
    said = f"{time} ({ratio:.{0 if ratio >= 10 else 1 if ratio >= 2 else 2}f}x)"
    return f"**{said}**" if ratio < 1 else said


def _memory(row: Row) -> str:
    size = row.get("peak_bytes")
    return "" if size is None else f"{size / 2**20:,.1f} MiB"


def _notes(rows: Sequence[Row]) -> str:
    """What is to be said of implementations, and who was not measured and why."""
    said: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        note = row.get("note", "")
        text = note if row["status"] in ("measured", "absent") else f"{row['status']}: {note}"
        if text and row["impl"] not in said[text]:
            said[text].append(row["impl"])
    return "\n".join(f"- {', '.join(names)}: {text}" for text, names in said.items() if names)
