"""`rlaif bench`: the kernels on this machine, printed case by case; what is measured, `rlaif_kernels.bench` knows."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import torch

    from rlaif_kernels.bench import Limits, Row
    from rlaif_kernels.bench.case import Case

__all__ = ["JsonPrinter", "Plan", "Printer", "TablePrinter", "planned", "printed"]

TITLES = ("implementation", "pass", "time", "p20 - p80", "processor", "rate", "of limit", "memory", "error", "vs ours")
DROPPED = (3, 4, 5)  # the columns to do without in a window that has not the width for all
WIDE = 132
LOSS = "bold red"
LEGEND = """
pass       both: forward and backward in one
time       median of a call; processor: of all threads together; the rest of the samples between p20 and p80
rate       the least bytes or operations that the result takes, over the time; of limit: above 100 % out of a cache
memory     the most that torch allocated at once during a call
error      the largest deviation from the float64 definition, over its largest number; what is wrong is not timed
vs ours    how many times as long as ours; red where ours is slower"""


class Printer(Protocol):
    """What becomes of the figures."""

    def heading(self, limits: Limits) -> None: ...

    def case(self, rows: Sequence[Row]) -> None:
        """The rows of one case, as soon as they are measured."""

    def end(self, rows: Sequence[Row]) -> None:
        """All rows once more."""


@dataclass(frozen=True)
class Plan:
    """What is to be measured, and where."""

    cases: list[Case]
    device: torch.device
    quick: bool


def planned(ops: Sequence[str], *, quick: bool, device: str | None) -> Plan:
    """The cases of these operations, or all, on a GPU if there is one. What is unknown is a ValueError."""
    # Before torch is there: its allocator would warn of memory that it freed while watched and did not see allocated.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from rlaif_kernels.bench import matrix, place

    on = place(device)
    return Plan(matrix(list(ops), quick=quick, large=on.type == "cuda"), on, quick)


def printed(printer: Printer, plan: Plan, *, threads: int | None = None) -> bool:
    """Measure and print; False if one of ours gave a wrong answer or none."""
    import torch

    from rlaif_kernels.bench import measure_limits, measured

    if threads is not None:
        torch.set_num_threads(threads)
    limits = measure_limits(plan.device, quick=plan.quick)
    printer.heading(limits)
    rows: list[Row] = []
    for case in plan.cases:
        some = measured(case, plan.device, limits, budget=0.2 if plan.quick else 1.0)
        printer.case(some)
        rows += some
    printer.end(rows)
    return not any(row.ours and row.status in ("wrong", "failed") for row in rows)


class JsonPrinter:
    """One JSON object on stdout: the limits, and a list of rows."""

    def __init__(self) -> None:
        self._limits: dict[str, Any] = {}

    def heading(self, limits: Limits) -> None:
        self._limits = limits.as_dict()

    def case(self, rows: Sequence[Row]) -> None: ...

    def end(self, rows: Sequence[Row]) -> None:
        said = {"limits": self._limits, "rows": [row.as_dict() for row in rows]}
        sys.stdout.write(json.dumps(said, indent=2) + "\n")


class TablePrinter:
    """Tables on stdout, one a case."""

    def __init__(self) -> None:
        # A pipe has no width: give every row one line, so that grep finds all of it.
        self._console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)

    def heading(self, limits: Limits) -> None:
        import torch

        import rlaif_kernels as rk

        say = self._console.print
        threads = f"{limits.threads} thread{'' if limits.threads == 1 else 's'}"
        say(Text(f"{limits.device}, {threads}, torch {torch.__version__}", style="bold"))
        products = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {dtype}" for dtype, rate in limits.products.items())
        say(f"limits measured here: copy {limits.copy / 1e9:.1f} GB/s, read {limits.read / 1e9:.1f} GB/s; {products}")
        for name, built in rk.build_info().items():
            say(Text(f"{name}: {built}", style="dim"))

    def case(self, rows: Sequence[Row]) -> None:
        """The rows of one case: what was measured as a table, the rest in lines below it."""
        if not rows:
            return
        columns = [at for at in range(len(TITLES)) if self._console.width >= WIDE or at not in DROPPED]
        table = Table(
            *(TITLES[at] for at in columns), box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0)
        )
        for column in table.columns[2:]:
            column.justify = "right"
        for row in rows:
            if row.status == "measured":
                words = cells(row)
                table.add_row(
                    *(Text(words[at]) for at in columns), style=LOSS if lost(row) else "bold" if row.ratio == 1 else ""
                )
        say = self._console.print
        say(Text(f"\n{rows[0].op}  {rows[0].case}  {rows[0].dtype}", style="bold cyan"))
        if table.row_count:
            say(table)
        for note, names in noted(rows).items():
            say(Text(f"{', '.join(names)}: {note}", style=LOSS if note.startswith(("wrong", "failed")) else "dim"))

    def end(self, rows: Sequence[Row]) -> None:
        self._console.print(Text(LEGEND, style="dim"))
        against = [row for row in rows if not row.ours and row.ratio is not None]
        slower = Counter(row.impl for row in against if lost(row))
        said = f"\nours is faster in {len(against) - slower.total()} of {len(against)} comparisons"
        if not against:
            said = "\nno other project that is installed does this: there is nothing to compare with"
        if slower:
            said += "; slower than " + ", ".join(f"{name} in {times}" for name, times in slower.most_common())
        self._console.print(Text(said, style="bold"))


def lost(row: Row) -> bool:
    """A peer was faster than ours."""
    return not row.ours and row.ratio is not None and row.ratio < 1


def cells(row: Row) -> tuple[str, ...]:
    """One row of the table, as text."""
    hot = "" if row.cache == "hot" else f" {row.cache}"
    return (
        row.impl,
        row.phase + hot,
        duration(row.ms),
        f"{duration(row.ms_p20)} - {duration(row.ms_p80)}",
        duration(row.cpu_ms),
        "" if row.rate is None else f"{row.rate:.3g} {row.unit}",
        "" if row.fraction is None else f"{row.fraction:.1%}",
        "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:.1f} MiB",
        "" if row.error is None else f"{row.error:.1e}",
        "" if row.ratio is None else f"{row.ratio:.2f}x",
    )


def duration(ms: float | None) -> str:
    """Three digits in the unit that suits them."""
    if ms is None:
        return ""
    value, unit = (ms * 1e3, "us") if ms < 1 else (ms, "ms") if ms < 1e3 else (ms / 1e3, "s")
    return f"{value:.{max(0, 3 - len(str(int(value))))}f} {unit}"


def noted(rows: Sequence[Row]) -> dict[str, list[str]]:
    """What is to be said of some rows -> the names of whom."""
    notes: dict[str, list[str]] = {}
    for row in rows:
        said = row.note if row.status in ("measured", "absent") else f"{row.status}: {row.note}"
        names = notes.setdefault(said, []) if said else []
        if row.impl not in names:
            names.append(row.impl)
    return notes
