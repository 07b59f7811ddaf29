"""The matrix: which operations are measured, on which shapes and dtypes, against whom."""

from __future__ import annotations

from rlaif_kernels.bench.case import Case
from rlaif_kernels.bench.cases import linear, logprobs, losses, overhead, scans

__all__ = ["matrix", "operations"]

EVERY = [*logprobs.CASES, *linear.CASES, *scans.CASES, *losses.CASES, *overhead.CASES]


def matrix(ops: list[str] | None = None, *, quick: bool = False, large: bool = False) -> list[Case]:
    """Every case of these operations (None: of all); `quick`: only those that take seconds, `large`: a GPU's as well.

    Raises ValueError for an operation that none is about.
    """
    known = {case.op for case in EVERY}
    unknown = sorted(set(ops or ()) - known)
    if unknown:
        raise ValueError(f"no benchmark of {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    wanted = [case for case in EVERY if not ops or case.op in ops]
    if quick:
        return [case.light() for case in wanted if case.quick]
    return [case for case in wanted if large or not case.large]


def operations() -> list[str]:
    """The operations that there are cases of."""
    return sorted({case.op for case in matrix()})
