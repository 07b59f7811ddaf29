"""How far a labelling is: a live bar on a terminal, an occasional plain line on stderr everywhere else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Self, TextIO

from rlaif_core.progress import SECONDS_BETWEEN_LINES, duration

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Progress:
    """Told of each stage and of what was done in it; says how many a second, what they cost, and the time left."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._bar: Bar | None = None
        self._task: Any = None
        self.title, self.total, self.done, self.cost = "", 0, 0, 0.0
        self._fresh, self._began, self._said = 0, 0.0, float("-inf")

    def __enter__(self) -> Self:
        if self.stream.isatty():
            self._bar = _bar(self.stream)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def stage(self, title: str, total: int, done: int) -> None:
        """`done` of `total` were done before."""
        self.title, self.total, self.done = title, total, done
        self._fresh, self._began, self._said = 0, time.monotonic(), float("-inf")
        if self._bar is not None:
            self._task = self._bar.add_task(title, total=total, completed=done, said="")

    def advance(self, count: int, cost: float = 0.0) -> None:
        """So many more are done."""
        self.done, self._fresh, self.cost = self.done + count, self._fresh + count, self.cost + cost
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, said=self._told(now))
        elif self.done == self.total or now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            self.stream.write(f"{self.title}  {self.done}/{self.total}  {self._told(now)}\n")
            self.stream.flush()

    def _told(self, now: float) -> str:
        rate = self._fresh / max(now - self._began, 1e-9)
        parts = [f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s"]
        if self.cost:
            parts.append(f"cost {self.cost:.4g}")
        return "  ".join([*parts, f"{duration((self.total - self.done) / rate)} left"])


def _bar(stream: TextIO) -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    said = TextColumn("{task.description}", markup=False)  # a judge's name may hold anything
    columns = (said, MofNCompleteColumn(), BarColumn(bar_width=24), TextColumn("{task.fields[said]}", markup=False))
    return Bar(*columns, console=Console(file=stream), refresh_per_second=2)
