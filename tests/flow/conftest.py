"""A run small enough to repeat at every save point: the fake policy, six words, and the real built-ins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.testing import FakePolicy

ROWS = [{"id": f"p{number}", "prompt": text} for number, text in enumerate(("is it red", "yes or no", "one and two"))]
PAIRS = [{**row, "chosen": "yes please", "rejected": "no no no"} for row in ROWS]


@pytest.fixture
def pairs() -> list[dict[str, Any]]:
    """The rows of a run, with a recorded pair each."""
    return PAIRS


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., rl.RunConfig]:
    """A config of `steps` steps for an optimiser and a credit; `changes` are `table.key=value` overrides."""

    def build(optimiser: str = "grpo", credit: str = "group", *changes: str, out: str = "run") -> rl.RunConfig:
        replay = optimiser == "dpo"
        tables: dict[str, Any] = {
            "run": {
                "seed": 3,
                "steps": 6,
                "out": str(tmp_path / out),
                "save_every": 1,
                "keep": 9,
                "tensorboard": False,
            },
            "prompts": {"batch": 2, "group": 4},
            "actions": [{"use": "replay"} if replay else {"use": "sample", "max_tokens": 5}],
            "rewards": [{"use": "recorded"} if replay else {"use": "keywords", "want": ["yes", "red"]}],
            "credit": {"use": credit},
            "optimiser": {"use": optimiser, "lr": 0.05},
        }
        return rl.RunConfig.of(tables, "test", changes)

    return build


@pytest.fixture
def train() -> Callable[..., Any]:
    """`rl.run` with a fresh fake policy and the three prompts in place of their tables."""

    def go(config: rl.RunConfig, **objects: Any) -> Any:
        objects.setdefault("prompts", PAIRS)
        return rl.run(config, policy=FakePolicy(), progress=False, **objects)

    return go


@pytest.fixture
def go_on() -> Callable[..., Any]:
    """`rl.resume` with the same objects."""

    def go(folder: Path, **objects: Any) -> Any:
        objects.setdefault("prompts", PAIRS)
        return rl.resume(folder, policy=FakePolicy(), progress=False, **objects)

    return go
