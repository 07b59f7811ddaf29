"""One measured number and what it is of."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch

__all__ = ["Row", "Status", "name_of", "short_name_of"]

Status = Literal["measured", "absent", "wrong", "failed"]


@dataclass(frozen=True)
class Row:
    """What one implementation took for one pass of one case; without times where it could not take part."""

    op: str
    case: str
    impl: str
    phase: str
    """forward, backward or both."""
    dtype: str
    device: str
    cache: str = "hot"
    """Whether the inputs may lie in a cache ("hot") or were flushed out of it ("cold", on a GPU)."""
    ours: bool = False
    status: Status = "measured"
    """absent: not installed, or not for this; wrong: refused for its answer; failed: it raised. `note` says more."""
    ms: float | None = None
    """Median milliseconds of a call."""
    ms_p20: float | None = None
    ms_p80: float | None = None
    cpu_ms: float | None = None
    first_ms: float | None = None
    """The first call: what compiles on the way compiles here."""
    rate: float | None = None
    """The least work of the operation over the time, in `unit`."""
    unit: str = ""
    fraction: float | None = None
    """The least time that the machine's limits allow, over the time: above 1 where a cache is faster than memory."""
    intensity: float | None = None
    """Operations per byte, of matrix products and on single numbers: with `gflops` its place on a roofline."""
    gflops: float | None = None
    """Those operations over the time, in thousands of millions a second."""
    peak_bytes: int | None = None
    """The most that was allocated at once during the call."""
    error: float | None = None
    """The largest deviation from the float64 definition, over the definition's largest number."""
    ratio: float | None = None
    """Its time over ours: above 1 where ours is faster."""
    note: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def short_name_of(dtype: torch.dtype) -> str:
    """ "f32" for float32."""
    return name_of(dtype).replace("float", "f")
