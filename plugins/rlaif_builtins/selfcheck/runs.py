"""What must hold of whole runs: exact resume, and nothing misconfigured in silence."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

import rlaif_core as rl
from rlaif_builtins.optimisers.update import Adam, Update
from rlaif_builtins.selfcheck.registry import check, hold
from rlaif_core import checkpoint
from rlaif_core.run import check as resolve
from rlaif_core.testing import FakePolicy

ROWS = [{"id": str(number), "prompt": text} for number, text in enumerate(("is it red", "yes or no", "one and two"))]


def tables(out: Path, **changes: Any) -> dict[str, Any]:
    """A run of six steps, two to a batch of rollouts."""
    return {
        "run": {"seed": 4, "steps": 6, "updates": 2, "out": str(out), "save_every": 1, "keep": 9, "tensorboard": False},
        "prompts": {"batch": 2, "group": 4},
        "actions": [{"use": "sample", "max_tokens": 5}],
        "rewards": [{"use": "length", "target": 3}, {"use": "keywords", "want": ["yes", "red", "and"]}],
        "credit": {"use": "group"},
        "optimiser": {"use": "grpo", "lr": 0.01},
    } | changes


@check(24, "three steps, a resume and three more equal six, bit for bit, inside a batch of rollouts too")
def resume() -> str:
    plugins = rl.Plugins.load(block=())
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place, "whole")
        objects: dict[str, Any] = {"plugins": plugins, "prompts": ROWS, "progress": False}
        rl.run(rl.RunConfig.of(tables(whole)), policy=FakePolicy(), **objects)
        end = checkpoint.load(whole / "checkpoints")[1]["parts"]["policy"]["module"]
        for step in (3, 4):
            cut = Path(place, f"cut-{step}")
            shutil.copytree(whole, cut)
            for later in range(step + 1, 7):
                shutil.rmtree(cut / "checkpoints" / f"step-{later}")
            rl.resume(cut, policy=FakePolicy(), **objects)
            again = checkpoint.load(cut / "checkpoints")[1]["parts"]["policy"]["module"]
            unequal = [name for name in end if not torch.equal(end[name], again[name])]
            hold(not unequal, f"resumed after step {step}, {', '.join(unequal)} differ")
    return "equal weights after 3 + 3 and 4 + 2 steps"


@check(30, "a typo, an option nobody reads, a frozen policy: each is an error")
def misconfiguration() -> str:
    plugins = rl.Plugins.load(block=())
    wrong: list[dict[str, Any]] = [
        {"optimizer": {"use": "grpo"}},
        {"optimiser": {"use": "grpo", "learning_rate": 1.0}},
        {"rewards": [{"use": "length", "target": 3, "channel": "cost:length"}]},
        {"run": {"stepps": 3}},
    ]
    for change in wrong:
        try:
            resolve(rl.RunConfig.of({"policy": {"model": "none"}, **tables(Path("nowhere"), **change)}), plugins)
        except rl.RlaifError:
            continue
        raise AssertionError(f"accepted in silence: {change}")
    frozen = FakePolicy()
    frozen.module.requires_grad_(False)
    try:
        Update(Adam(lr=1.0)).prepare(frozen, 1)
    except rl.TrainingError:
        return f"{len(wrong)} wrong configs and a frozen policy refused"
    raise AssertionError("a policy without trainable parameters was accepted")
