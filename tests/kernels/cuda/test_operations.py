"""What holds of every operation, in CUDA on the emulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import operations
from rlaif_kernels import dispatch

pytestmark = pytest.mark.usefixtures("emulator")

NAMES = [name for name in operations.PROBLEMS if "cuda" in dispatch.offered(name) and name != "sharded_logprobs"]


@pytest.mark.parametrize("check", operations.CHECKS)
@pytest.mark.parametrize("operation", NAMES)
def test_whatever_the_operation(operation: str, check: Callable[[str, Any], None]) -> None:
    check(operation, "cuda")
