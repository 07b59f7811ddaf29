"""Cases to rows: every answer is held against the float64 definition first, and only what is right is timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from typing import Any

import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_kernels.bench.case import Absent, Answers, Call, Case, Contestant, Inputs, Phase, named
from rlaif_kernels.bench.check import Truth, Wrong, check
from rlaif_kernels.bench.limits import Limits
from rlaif_kernels.bench.measure import Timing, measure, peak_bytes
from rlaif_kernels.bench.row import Row, name_of, short_name_of

__all__ = ["contestants", "measured"]

Steps = tuple[Callable[[], Any], Callable[[Any], Any]]


def measured(case: Case, device: torch.device, limits: Limits, *, budget: float = 0.5) -> list[Row]:
    """All rows of a case: ours first, best first, then the peers in the order of the case.

    `budget` is how many seconds to go on sampling one pass of one contestant.
    """
    torch.manual_seed(0)
    try:
        inputs = case.make(device)
        arena = _Arena(case, inputs, Truth.of(case, inputs), device, limits, budget)
    except torch.OutOfMemoryError:  # float64 takes several times what is measured; the other cases may fit
        note = "the definition in float64 does not fit the device's memory"
        dtype = short_name_of(case.dtype)
        return [Row(case.op, case.label, "definition", "", dtype, limits.device, status="absent", note=note)]
    return _compared([row for contestant, ours in contestants(case) for row in arena.rows(contestant, ours)])


def contestants(case: Case) -> Iterator[tuple[Contestant, bool]]:
    """Everyone who takes part, and whether it is ours."""
    for impl in rk.implementations(case.op):
        yield own(case.op, impl), True
    for contestant in case.own:
        yield contestant, True
    for contestant in case.peers:
        yield contestant, False


def own(op: str, impl: str) -> Contestant:
    """The operation itself, by one of its implementations."""

    def prepare(inputs: Inputs) -> Call:
        return partial(getattr(rk, op), **inputs, impl=impl)

    return Contestant(f"rlaif {impl}", prepare)


@dataclass(frozen=True)
class _Arena:
    """A case with its inputs and the right answers."""

    case: Case
    inputs: Inputs
    truth: Truth
    device: torch.device
    limits: Limits
    budget: float

    def rows(self, contestant: Contestant, ours: bool) -> Iterator[Row]:
        """What one contestant took for every pass, or one row that says why it took part in none."""
        case = self.case
        blank = Row(case.op, case.label, contestant.name, "", short_name_of(case.dtype), self.limits.device, ours=ours)
        blank = replace(blank, note=contestant.note, versions=_versions(contestant))
        try:
            call = contestant.prepare(self.inputs)
        except Exception as error:  # noqa: BLE001  a peer may raise anything, and the others are measured all the same
            yield _without(blank, error)
            return
        for phase in case.work:
            if phase in contestant.phases:
                yield from self._of_phase(contestant, call, phase, replace(blank, phase=phase))

    def _of_phase(self, contestant: Contestant, call: Call, phase: Phase, blank: Row) -> list[Row]:
        """Hot, and on a GPU cold as well."""
        leaves = [self.inputs[name] for name in self.case.leaves]
        pristine = {name: self.inputs[name].detach().clone() for name in contestant.spoils}
        learning = phase != "forward" or self.case.recorded
        for leaf in leaves:
            leaf.requires_grad_(learning)
        try:
            with torch.set_grad_enabled(learning and bool(leaves)):
                setup, step = steps = self._steps(contestant, call, phase, pristine)
                first, error = self._checked(contestant, steps, phase)
                plain = phase == "forward" and not pristine
                peak = peak_bytes(step, setup(), self.device) if contestant.counted else None
                blank = replace(blank, first_ms=first * 1e3, error=error, peak_bytes=peak)
                rows = []
                for cold in (True, False) if self.device.type == "cuda" else (False,):
                    before = None if plain else setup
                    its = measure(step, setup=before, device=self.device, budget=self.budget, cold=cold, warm=True)
                    rows.append(self._filled(replace(blank, cache="cold" if cold else "hot"), phase, its))
                return rows
        except Exception as error:  # noqa: BLE001  as above
            return [_without(blank, error)]
        finally:
            for leaf in leaves:
                leaf.requires_grad_(False)
            self._restore(pristine)

    def _steps(self, contestant: Contestant, call: Call, phase: Phase, pristine: Answers) -> Steps:
        """What goes before a sample, and what the sample is of: `step(setup())`."""
        read = contestant.read or named(*self.case.answers)
        leaves = [self.inputs[name] for name in self.case.leaves]
        upstream = self.truth.upstream

        def descend(said: Answers) -> tuple[Tensor, ...]:
            slopes = [upstream[name].to(output.dtype) for name, output in said.items()]
            return torch.autograd.grad(list(said.values()), leaves, slopes)

        def graph() -> Answers:
            self._restore(pristine)
            return read(call())

        if phase == "backward":
            return graph, descend
        if phase == "both":
            return lambda: self._restore(pristine), lambda _: descend(read(call()))
        return lambda: self._restore(pristine), lambda _: call()

    def _checked(self, contestant: Contestant, steps: Steps, phase: Phase) -> tuple[float, float]:
        """Seconds of the first call, and how far it is from the definition."""
        setup, step = steps
        given, start = setup(), time.perf_counter()
        said = step(given)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - start
        if phase == "forward":
            read = contestant.read or named(*self.case.answers)
            return seconds, check(self.case, read(said), self.truth.answers)
        return seconds, check(self.case, dict(zip(self.case.leaves, said, strict=True)), self.truth.gradients)

    def _restore(self, pristine: Answers) -> None:
        for name, before in pristine.items():
            self.inputs[name].data.copy_(before)

    def _filled(self, row: Row, phase: Phase, its: Timing) -> Row:
        """With the times, and what they come to against the machine's limits."""
        work, dtype = self.case.work[phase], name_of(self.case.dtype)
        computing = self.limits.bound(work, dtype) == "compute"
        return replace(
            row,
            ms=its.median * 1e3,
            ms_p20=its.p20 * 1e3,
            ms_p80=its.p80 * 1e3,
            cpu_ms=its.cpu * 1e3,
            rate=(work.flops if computing else work.moved) / its.median / 1e9,
            unit="GFLOP/s" if computing else "GB/s",
            fraction=self.limits.seconds(work, dtype) / its.median,
            intensity=work.operations / work.moved,
            gflops=work.operations / its.median / 1e9,
        )


def _compared(rows: Sequence[Row]) -> list[Row]:
    """Each time over the best of ours: the first that was measured for the same pass."""
    best: dict[tuple[str, str], float] = {}
    for row in rows:
        if row.ours and row.ms:
            best.setdefault((row.phase, row.cache), row.ms)
    ours = [best.get((row.phase, row.cache)) for row in rows]
    return [replace(row, ratio=row.ms / its if row.ms and its else None) for row, its in zip(rows, ours, strict=True)]


def _versions(contestant: Contestant) -> dict[str, str]:
    found = {"torch": str(torch.__version__)}
    if contestant.package is not None:
        try:
            found[contestant.package] = metadata.version(contestant.package)
        except metadata.PackageNotFoundError:
            found[contestant.package] = "absent"
    return found


def _without(row: Row, error: Exception) -> Row:
    """The row of who has no times, and why."""
    if isinstance(error, Wrong):
        return replace(row, status="wrong", note=str(error))
    if isinstance(error, Absent | rk.ImplementationError):
        return replace(row, status="absent", note=str(error))
    lines = str(error).strip().splitlines()
    return replace(
        row, status="failed", note=f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"[:200]
    )
