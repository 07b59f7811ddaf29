"""What this machine can do at most, measured in the process that is measured: bandwidths and rates of products.

A time divided into these says how much is left to gain, on a throttled or shared machine as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels.bench.measure import measure
from rlaif_kernels.bench.row import name_of

__all__ = ["Limits", "Work", "measure_limits", "place"]

READING = 0.1  # what writes less than this share of its bytes is held against the rate of reading


@dataclass(frozen=True)
class Work:
    """The least that an operation must move and compute, whoever does it and how."""

    read: float
    """Bytes."""
    written: float = 0.0
    flops: float = 0.0
    """Additions and multiplications of matrix products, each counted."""
    elementwise: float = 0.0
    """Operations on single numbers, roughly, an exponential counted as one: where an operation stands on a roofline.
    No limit is made of them."""

    @property
    def moved(self) -> float:
        """Bytes."""
        return self.read + self.written

    @property
    def operations(self) -> float:
        return self.flops + self.elementwise


@dataclass(frozen=True)
class Limits:
    """Rates of one device with a number of threads."""

    device: str
    threads: int
    copy: float
    """Bytes read and written per second by `Tensor.copy_`, both counted."""
    read: float
    """Bytes read per second by the fastest of torch's reductions tried."""
    products: dict[str, float] = field(default_factory=dict)
    """dtype -> floating-point operations per second of the best square matrix product."""
    mhz: float | None = None
    """The clock right after these were measured; None where nobody tells."""

    def seconds(self, work: Work, dtype: str) -> float:
        """The least time for the work: moving and computing may overlap, so the longer of the two."""
        bandwidth = self.read if work.written < READING * work.moved else self.copy
        computing = work.flops / self.products.get(dtype, math.inf) if work.flops else 0.0
        return max(work.moved / bandwidth, computing)

    def bound(self, work: Work, dtype: str) -> str:
        """What that time is spent on: "memory" or "compute"."""
        memory_alone = self.seconds(Work(work.read, work.written), dtype)
        return "compute" if self.seconds(work, dtype) > memory_alone else "memory"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def place(device: str | None) -> torch.device:
    """Where to measure: as told, or on a GPU if there is one. ValueError for what is not there."""
    there = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    if device is not None and device not in there:
        raise ValueError(f"no device {device!r} to measure on here; there is {' and '.join(there)}")
    return torch.device(device or there[-1])


def measure_limits(device: torch.device, *, quick: bool = False, size: int | None = None) -> Limits:
    """Measure on random numbers, for zeros flatter a processor that saves energy; two arrays of `size` bytes."""
    cuda = device.type == "cuda"
    size = size or (1 << 30 if cuda else 1 << 27 if quick else 1 << 28)
    budget = 0.3 if quick else 1.5
    source = torch.randn(size // 4, device=device)
    target = torch.empty_like(source)
    copy = measure(lambda _: target.copy_(source), device=device, budget=budget)
    reads = [
        measure(partial(_reduced, reduce, source), device=device, budget=budget) for reduce in (torch.sum, torch.amax)
    ]
    width = 8192 if cuda else 1024 if quick else 2048
    if size < 1 << 24:
        width = 64
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        times = [
            measure(product, device=device, budget=budget).least
            for product in _products(torch.randn(2, width, width, device=device).to(dtype))
        ]
        rates[name_of(dtype)] = 2 * width**3 / min(times)
    best_read = min(its.least for its in reads)
    name = torch.cuda.get_device_name(device) if cuda else "cpu"
    # The least time, not the median: a limit is what the machine can do when it is left alone.
    return Limits(name, torch.get_num_threads(), 2 * size / copy.least, size / best_read, rates, _clock(device))


def _clock(device: torch.device) -> float | None:
    """In MHz; of a CPU its fastest core's."""
    if device.type == "cuda":
        try:
            return float(torch.cuda.clock_rate(device))
        except (RuntimeError, ImportError):  # it asks a package of NVIDIA's, which need not be there
            return None
    try:
        said = Path("/proc/cpuinfo").read_text()
    except OSError:
        return None
    return max((float(one) for one in re.findall(r"^cpu MHz\s*: ([\d.]+)$", said, re.MULTILINE)), default=None)


def _reduced(reduce: Callable[[Tensor], Tensor], source: Tensor, _: object) -> Tensor:
    return reduce(source)


def _products(matrices: Tensor) -> Iterator[Callable[[Any], Tensor]]:
    """a @ b by torch, and where there is oneDNN, by that."""
    first, second = matrices
    yield lambda _: torch.mm(first, second)
    if first.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
        if linear is not None:
            yield lambda _: linear(first, second, None, "none", [], "")
