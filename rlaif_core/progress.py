"""Where the run is: a live bar on a terminal, an occasional plain line on stderr everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Told the metrics after each step; says step/total, reward, KL, tokens a second and the time left."""

    def __init__(self, steps: int, start: int = 0, stream: TextIO | None = None) -> None:
        self.steps, self.start = steps, start
        self.stream = stream or sys.stderr
        self.began = time.monotonic()
        self.said = float("-inf")  # when the last plain line was written
        self.bar: Bar | None = _bar(self.stream) if self.stream.isatty() else None
        if self.bar is not None:
            self.task = self.bar.add_task("", total=steps, completed=start, said="starting")
            self.bar.start()

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Show step `step` of the run, just finished."""
        now = time.monotonic()
        left = (now - self.began) / max(step - self.start, 1) * (self.steps - step)
        said = describe(metrics, left)
        if self.bar is not None:
            self.bar.update(self.task, completed=step, said=said)
        elif step == self.steps or now - self.said >= SECONDS_BETWEEN_LINES:
            self.said = now
            self.stream.write(f"step {step}/{self.steps}  {said}\n")
            self.stream.flush()

    def close(self) -> None:
        """Leave the bar as it stands and hand the terminal back."""
        if self.bar is not None:
            self.bar.stop()


def describe(metrics: Mapping[str, float], left: float) -> str:
    """One line of what a reader wants to know at a glance; `left` is in seconds."""
    parts = []
    if "reward" in metrics:
        parts.append(f"reward {metrics['reward']:+.3f}")
    if "kl" in metrics:
        parts.append(f"KL {metrics['kl']:.3f}")
    if "tokens_per_second" in metrics:
        parts.append(f"{metrics['tokens_per_second']:,.0f} tokens/s")
    return "  ".join([*parts, f"{duration(left)} left"])


def duration(seconds: float) -> str:
    """48 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _bar(stream: TextIO) -> Bar:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("step"), MofNCompleteColumn(), BarColumn(bar_width=24), TextColumn("{task.fields[said]}"))
    # One refresh a second: enough to see that it lives, too little to cost the step anything.
    return Bar(*columns, console=Console(file=stream), refresh_per_second=1)
