"""What is measured: an operation on inputs of one shape and dtype, and those who compete in computing it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from rlaif_kernels.bench.limits import Work

__all__ = ["PHASES", "Absent", "Answers", "Call", "Case", "Contestant", "Inputs", "Phase", "installed", "named"]

Inputs = dict[str, Any]
"""The arguments of the operation by name."""

Answers = dict[str, Tensor]
"""The results by name."""

Call = Callable[[], Any]
Phase = Literal["forward", "backward", "both"]
PHASES: tuple[Phase, ...] = ("forward", "backward", "both")


class Absent(Exception):  # noqa: N818  no error: a peer that is not there is reported and passed over
    """A contestant cannot take part here; the message says why."""


def installed(name: str) -> ModuleType:
    """Import a module of a peer, or raise `Absent`."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if error.name and name.split(".")[0] == error.name:
            raise Absent("not installed") from error
        raise Absent(f"not importable: {error}") from error


def named(*names: str) -> Callable[[Any], Answers]:
    """Read a tensor, or a sequence of them, as the answers of these names; what is beyond them is left out."""

    def read(said: Any) -> Answers:
        return dict(zip(names, (said,) if isinstance(said, Tensor) else said, strict=False))

    return read


@dataclass(frozen=True)
class Contestant:
    """One way to compute an operation."""

    name: str
    prepare: Callable[[Inputs], Call]
    """inputs -> a call that computes; converting and compiling belong here and are not timed. May raise `Absent`."""
    read: Callable[[Any], Answers] | None = None
    """What a call returned, as answers by name; not timed without a gradient. None: as the operation itself."""
    note: str = ""
    phases: tuple[Phase, ...] = PHASES
    spoils: tuple[str, ...] = ()
    """Inputs that a call leaves overwritten."""
    package: str | None = None
    """The distribution whose version is told."""
    compiles: bool = False
    """Whether it takes seconds to get ready."""
    counted: bool = True
    """Whether its memory is allocated by torch, and so can be counted."""


@dataclass(frozen=True)
class Case:
    """One operation on inputs of one shape and dtype."""

    op: str
    label: str
    dtype: torch.dtype
    make: Callable[[torch.device], Inputs]
    answers: tuple[str, ...]
    work: Mapping[Phase, Work]
    """The phases that are measured, and the least that each must do."""
    leaves: tuple[str, ...] = ()
    """The inputs that a gradient is taken with respect to."""
    peers: Sequence[Contestant] = ()
    own: Sequence[Contestant] = field(default=())
    """Further ways of ours beside the plain call: in place, for example."""
    quick: bool = False
    recorded: bool = False
    """Whether the forward pass is one that a gradient is wanted of, and so records what that needs."""
    large: bool = False
    """For a GPU: on a CPU it would take minutes."""
    tolerance: float | None = None
    """How far an answer may be off, as a share of the largest number of the definition's; by dtype if None."""

    def light(self) -> Case:
        """Without those that compile, which takes longer than all the rest."""
        return replace(self, peers=tuple(peer for peer in self.peers if not peer.compiles))

    @property
    def bound(self) -> float:
        loose = {torch.bfloat16: 0.05, torch.float16: 0.01}
        return self.tolerance if self.tolerance is not None else loose.get(self.dtype, 1e-3)
