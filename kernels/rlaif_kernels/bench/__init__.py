"""Measure the operations on this machine: against its limits, against plain torch and against other projects.

`measured(case, device, limits)` gives the rows of one case of the `matrix()`. `rlaif bench` prints them, and
`python -m rlaif_kernels.bench` does without the rest of rlaif. Nothing is timed whose answer is wrong.
"""

from __future__ import annotations

from rlaif_kernels.bench.cases import matrix, operations
from rlaif_kernels.bench.limits import Limits, Work, measure_limits, place
from rlaif_kernels.bench.row import Row
from rlaif_kernels.bench.runner import measured

__all__ = ["Limits", "Row", "Work", "matrix", "measure_limits", "measured", "operations", "place"]
