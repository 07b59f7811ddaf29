"""What holds of every operation, in Triton's interpreter, for which the problems and the blocks are small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import operations
from rlaif_kernels import dispatch
from rlaif_kernels.triton import interpreted

if not interpreted:
    pytest.skip("the problems lie in the CPU's memory", allow_module_level=True)

from rlaif_kernels.triton import linear, logprobs, normalise, scans, sparse

NAMES = [name for name in operations.PROBLEMS if "triton" in dispatch.offered(name) and name != "sharded_logprobs"]
CHECKS = [*operations.CHECKS[:2], operations.results_may_be_changed_in_place]
SIZES = [(logprobs, "BLOCK", 16), (logprobs, "SEGMENT", 32), (scans, "BLOCK", 8), (normalise, "TILE", 32),
         (normalise, "TILES", 4), (linear, "SEGMENT", 32), (linear, "RAGGED", linear.Tiles(4, 16, 16, 4, 2)),
         (sparse, "BLOCK", 16), (sparse, "DEPTH", 16)]  # fmt: skip


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("operation", NAMES)
def test_whatever_the_operation(
    operation: str, check: Callable[[str, Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name, size in SIZES:
        monkeypatch.setattr(module, name, size)
    check(operation, "triton")
