"""Runs that over-optimise a judge of the embedded world, each with or without a defence, watched by an oracle.

What is done is kept, so that a bench that was interrupted goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import rlaif_core as rl
from rlaif_core.record import read_metrics, read_rollouts
from rlaif_guards.frontier import Frontier
from rlaif_lumen.parse import read_reply

HERE = Path(__file__).resolve().parent
BATCH, GROUP, LR = 24, 4, 5e-4
STEPS = 60


@dataclass(frozen=True, slots=True)
class Course:
    """A run, or best of n, in the oracle's view: `kl`, `gold` and `proxy` at each point.

    Of best of n also the standard `error` of gold over prompts, and by how much it is `above` the plain judges' at the
    same n, with the error of that difference, prompt by prompt; of a run the step at which the canary first alarmed.
    """

    name: str
    kl: Sequence[float]
    gold: Sequence[float]
    proxy: Sequence[float]
    hacks: Mapping[str, float]
    frontier: Frontier | None = None
    error: Sequence[float] = ()
    above: Sequence[tuple[float, float]] = ()
    alarm: int | None = None


Defence = Mapping[str, Any]
"""Tables in the place of the plain run's: "kl", "judges", "rewards", "actions", "observers"."""


def config(seed: int, steps: int, folder: Path, defence: Defence) -> rl.RunConfig:
    """Plainly: one judge, no penalty, and the oracle looking on."""
    canary = {"use": "canary", "judge": "gold", "every": 1, "window": 5}
    tables: dict[str, Any] = {
        "run": {"seed": seed, "steps": steps, "out": str(folder), "save_every": 20, "tensorboard": False},
        "policy": {"model": "builtin:tiny", "device": "cpu"},
        "prompts": {
            "dataset": "rlaif_lumen.prompts:prompts",
            "options": {"count": BATCH * steps, "seed": seed},
            "column": "messages",
            "batch": BATCH,
            "group": GROUP,
        },
        "actions": defence.get("actions", [{"use": "sample", "max_tokens": 32}]),
        "judges": {
            "gold": {"use": "function", "path": f"{HERE / 'lumen_gold.py'}:gold"},
            **defence.get("judges", {"main": {"use": "tiny"}}),
        },
        "rewards": defence.get("rewards", [{"use": "judge", "judge": "main"}]),
        "credit": {"use": "leave_one_out"},
        "optimiser": {"use": "reinforce", "kl": defence.get("kl", 0.0), "lr": LR},
        "observers": [canary, *defence.get("observers", [])],
    }
    return rl.RunConfig.of(tables)


def watched(work: Path, name: str, seed: int, steps: int, defence: Defence) -> Sequence[Mapping[str, float]]:
    """The metrics of a run; it is run unless it has been, and gone on with where it was cut off."""
    folder = work / "runs" / f"{name}-{seed}"
    done = folder / "done.json"
    if not done.is_file():
        if (folder / "config.toml").is_file():
            history = rl.resume(folder, progress=False)
        else:
            history = rl.run(config(seed, steps, folder, defence), progress=False)
        done.write_text(json.dumps({"ended": history.ended}), encoding="utf-8")
    return read_metrics(folder)


def hacks(folder: Path, last: int = 10, until: int | None = None) -> dict[str, float]:
    """What the policy does to please the judge, in the last steps (of those `until` one): fillers and words a reply."""
    rows = read_rollouts(folder, ["step", "completion"]).to_pylist()
    recent = sorted({row["step"] for row in rows if until is None or row["step"] <= until})[-last:]
    replies = [read_reply(row["completion"]) for row in rows if row["step"] in recent]
    return {"filler": fmean(it.fillers for it in replies), "length": fmean(it.length for it in replies)}
