"""A run whose kernels are turned off is the same run, by the definitions alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import checkpoints
import rlaif_core as rl
from rlaif_core.policy import TransformersPolicy
from rlaif_core.record import read_rollouts
from rlaif_kernels import dispatch

PAIRS = [("grpo", "group"), ("reinforce", "leave_one_out"), ("ppo", "gae")]
CLOCK = ("seconds", "tokens_per_second")


@pytest.mark.parametrize(("optimiser", "credit"), PAIRS)
def test_numbers_are_the_same_without_kernels(
    optimiser: str, credit: str, tmp_path: Path, config: Any, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.checkpoint(tmp_path / "model", "llama")

    def trained(*changes: str, out: str) -> rl.History:
        policy = TransformersPolicy(tmp_path / "model", device="cpu")
        table = config(optimiser, credit, "optimiser.lr=0.003", "run.save_every=0", *changes, out=out)
        return rl.run(table, policy=policy, prompts=pairs, progress=False)

    fast = trained(out="fast")
    chosen = set()
    inner = dispatch._function

    def noted(operation: str, name: str) -> Any:
        chosen.add(name)
        return inner(operation, name)

    monkeypatch.setattr(dispatch, "_function", noted)
    for name in ("gae_at_once", "logprobs_at_once"):
        monkeypatch.delattr(f"rlaif_kernels._native.{name}", raising=False)
    plain = trained("run.kernels=torch", out="plain")
    assert chosen == {"torch"}
    columns = ["step", "prompt_id", "completion"]
    assert read_rollouts(plain.folder, columns).equals(read_rollouts(fast.folder, columns))
    for mine, theirs in zip(plain, fast, strict=True):
        wanted = {name: pytest.approx(its, rel=1e-3, abs=1e-5) for name, its in theirs.items()}
        assert mine == {**wanted, **{name: mine[name] for name in CLOCK}}
