"""How long a call takes and how much memory it needs at most.

Times are medians of repeated samples, with the 20th and 80th percentile beside them. On a GPU they are those of the
device, by events; `cpu` is the process's own processor time, which tells more on a shared machine than the clock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

__all__ = ["Timing", "measure", "peak_bytes", "quantile"]

LEAST = {"cpu": 7, "cuda": 20}
"""Samples taken at the least, however long they take."""

MOST = 200
SAMPLE = 1e-3  # seconds: a shorter call is repeated within a sample, so that the clock's own cost does not show
FLUSHED = 256 << 20  # bytes: more than the L2 cache of any GPU


@dataclass(frozen=True)
class Timing:
    """Seconds of one call."""

    median: float
    p20: float
    p80: float
    cpu: float
    """Median of the processor time, of all threads together."""
    least: float
    samples: int


def quantile(sample: Sequence[float], share: float) -> float:
    """The value below which a share of the sample lies, between its neighbours in proportion."""
    ranked, place = sorted(sample), share * (len(sample) - 1)
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (place - low)


def measure(
    call: Callable[[Any], object],
    *,
    setup: Callable[[], Any] | None = None,
    device: torch.device | None = None,
    budget: float = 0.5,
    cold: bool = False,
    warm: bool = False,
) -> Timing:
    """Time `call(setup())`, of which `setup` is not timed; without one, `call(None)`. `warm`: it was called before.

    `budget` is how many seconds to go on for, once `LEAST` samples are taken. With `cold` the caches of a GPU are
    flushed before each sample; hot samples find there what the one before has left.
    """
    cuda = device is not None and device.type == "cuda"
    prepare = setup or (lambda: None)
    if not warm:
        call(prepare())
    several = 1 if setup is not None or cold else _per_sample(call, cuda)
    flush = torch.empty(FLUSHED, dtype=torch.uint8, device=device) if cuda and cold else None
    sample = _on_device if cuda else _on_host
    wall: list[float] = []
    cpu: list[float] = []
    least, end = LEAST["cuda" if cuda else "cpu"], time.perf_counter() + budget
    while len(wall) < least or (len(wall) < MOST and time.perf_counter() < end):
        given = prepare()
        if flush is not None:
            flush.zero_()
        seconds, processor = sample(call, given, several)
        wall.append(seconds)
        cpu.append(processor)
    return Timing(
        quantile(wall, 0.5), quantile(wall, 0.2), quantile(wall, 0.8), quantile(cpu, 0.5), min(wall), len(wall)
    )


def _per_sample(call: Callable[[Any], object], cuda: bool) -> int:
    """How many calls make a sample that is long enough to be timed."""
    several = 1
    while several < 1 << 16:
        seconds = (_on_device if cuda else _on_host)(call, None, several)[0] * several
        if seconds >= SAMPLE:
            break
        several = min(1 << 16, several * max(2, min(100, round(SAMPLE / max(seconds, 1e-9)) + 1)))
    return several


def _on_host(call: Callable[[Any], object], given: Any, several: int) -> tuple[float, float]:
    processor, start = time.process_time(), time.perf_counter()
    for _ in range(several):
        call(given)
    return (time.perf_counter() - start) / several, (time.process_time() - processor) / several


def _on_device(call: Callable[[Any], object], given: Any, several: int) -> tuple[float, float]:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    processor = time.process_time()
    start.record()
    for _ in range(several):
        call(given)
    end.record()
    processor = time.process_time() - processor
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / several, processor / several


def peak_bytes(call: Callable[[Any], object], given: Any, device: torch.device) -> int:
    """The most that torch's allocator held at once during a call, less what it held before.

    What numpy or a library allocates behind torch's back is not seen.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call(given)
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # else torch's profiler says on stderr when it starts and stops
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        call(given)
    results = seen.profiler.kineto_results if seen.profiler else None
    events = [event for event in (results.events() if results else []) if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):  # Python's sort keeps the order of equal times
        held += event.nbytes()
        peak = max(peak, held)
    return peak
