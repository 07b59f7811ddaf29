"""Where the run is, on a terminal and without one."""

from __future__ import annotations

import io
import math
import os
import pty
import time
from contextlib import suppress

import pytest

from rlaif_core.progress import Progress, describe, duration


def test_the_state_of_a_run_reads_at_a_glance() -> None:
    metrics = {"reward": 0.5, "kl": 0.0123, "tokens_per_second": 12345.6}
    assert describe(metrics, 200) == "reward +0.500  KL 0.012  12,346 tokens/s  3 min 20 s left"
    assert describe({}, 59.7) == "1 min 00 s left"
    assert [duration(seconds) for seconds in (0, 59, 3599, 3600, 7500)] == [
        "0 s", "59 s", "59 min 59 s", "1 h 00 min", "2 h 05 min",
    ]  # fmt: skip


def test_without_a_terminal_progress_is_an_occasional_line(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(tick) for tick in (0, 4, 8, 12, 16, 20))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    stream = io.StringIO()
    progress = Progress(5, stream=stream)
    for step in range(1, 6):
        progress.step(step, {"reward": step / 10})
    progress.close()
    assert stream.getvalue().splitlines() == [
        "step 1/5  reward +0.100  16 s left",
        "step 4/5  reward +0.400  4 s left",
        "step 5/5  reward +0.500  0 s left",
    ]


def drained(handle: int) -> str:
    """Everything written to a pseudo-terminal whose other end is closed; reading past the end is an error on Linux."""
    parts = []
    with suppress(OSError):
        while part := os.read(handle, 65536):
            parts.append(part)
    os.close(handle)
    return b"".join(parts).decode()


def test_on_a_terminal_progress_is_a_bar() -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        progress = Progress(3, start=1, stream=terminal)
        progress.step(2, {"reward": 0.25, "kl": 0.5})
        progress.step(3, {"reward": 0.75, "kl": math.pi})
        progress.close()
    said = drained(ours)
    assert "3/3" in said
    assert "reward +0.750  KL 3.142  0 s left" in said
