"""What holds of every operation, in plain torch and in C++."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import distributed

import here
import kept
import operations
from rlaif_kernels.reference import logprobs

BOTH = [
    (name, impl) for name in operations.PROBLEMS for impl in ("native", "torch") if impl in here.implementations(name)
]


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """A group of one process, for what is done by several."""
    if "sharded_logprobs" not in request.node.name:
        yield
        return
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/met", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("check", operations.CHECKS)
@pytest.mark.parametrize(("operation", "impl"), BOTH)
def test_whatever_the_operation(operation: str, impl: str, check: Callable[[str, Any], None]) -> None:
    check(operation, impl)


# Not what several processes do together: their threads would have to do it in one order.
@pytest.mark.parametrize(("operation", "impl"), [one for one in BOTH if one[0] != "sharded_logprobs"])
def test_threads_at_once(operation: str, impl: str) -> None:
    operations.threads_at_once_do_not_disturb_each_other(operation, impl)


@pytest.mark.parametrize("operation", sorted(operations.PROBLEMS.keys() - {"group_normalise", "sharded_logprobs"}))
def test_a_definition_may_be_captured(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a CUDA graph, no number is asked for. How many groups there are must be, and others are not waited for."""
    given = operations.PROBLEMS[operation]()
    wanted = operations.said(operation, "torch", given)
    monkeypatch.setattr(logprobs, "capturing", lambda _: True)
    with kept.Impatient():
        found = operations.said(operation, "torch", given)
    operations.same(found, wanted)
