"""What the plugin machinery costs: a step in which no part computes anything, against a real GRPO step.

The empty step runs through the same verbs, checks of values, blame and hooks as a real one, with values of the same
shapes, all the installed plugins and a listener on every event; only sampling, scoring and learning are left out. The
credit assignment is the real one and counts as machinery too. Recording (parquet, metrics, TensorBoard) is what a run
leaves behind and not how it is put together, so it stands apart.

    python benches/bench_machinery.py [--rounds 5] [--save]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import device
import torch
from peer_trl_grpo import summary
from rich.console import Console

import rlaif_core as rl
from rlaif_core.assemble import assemble
from rlaif_core.loop import advance
from rlaif_core.plugins import Origin
from rlaif_core.record import Record
from rlaif_core.testing import FakePolicy
from rlaif_core.train import remembered
from rlaif_core.types import Finish

HERE = Path(__file__).resolve().parent
PROMPTS, GROUP, PROMPT_TOKENS, TOKENS = 2, 8, 33, 64
LIMIT = 0.01
"""The share of a step that the machinery may take."""


class Ready(rl.Action):
    """Hands out answers that it was given, checked anew as fresh ones are."""

    def __init__(self, rollouts: rl.Rollouts) -> None:
        self._rollouts = rollouts

    def act(self, sampler: rl.Sampler, prompts: Sequence[rl.Prompt], draft: rl.Rollouts | None) -> rl.Rollouts:
        return replace(self._rollouts)


class Numbers(rl.RewardSource):
    """Scores answers by their place in the batch."""

    def score(self, rollouts: rl.Rollouts) -> list[float]:
        return [float(number) for number in range(len(rollouts))]


class Idle(rl.Optimiser):
    """Learns nothing, and reports as much as grpo does."""

    def prepare(self, policy: rl.Policy, steps: int) -> None: ...

    def step(self, policy: rl.Policy, experience: rl.Experience) -> Mapping[str, float]:
        return dict.fromkeys(("loss", "grad_norm", "lr", "clip_fraction", "approx_kl", "entropy", "kl"), 0.0)


class Listener:
    """A plugin that is told everything and does nothing."""

    @rl.hookimpl
    def rlaif_run_started(self, run: Any) -> None: ...

    @rl.hookimpl
    def rlaif_step_finished(self, step: int, experience: rl.Experience, metrics: rl.Metrics) -> None: ...


def answers(prompts: Sequence[rl.Prompt]) -> rl.Rollouts:
    """Random tokens in the shape of the benchmarked step."""
    finish: Finish = "length"
    rows, shape = PROMPTS * GROUP, (PROMPTS * GROUP, PROMPT_TOKENS + TOKENS)
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[:, PROMPT_TOKENS:] = True
    return rl.Rollouts(
        prompts=tuple(prompt for prompt in prompts for _ in range(GROUP)),
        completions=("An answer of about the usual length, which is about as long as this one is. " * 4,) * rows,
        tokens=torch.randint(4096, shape),
        attend=torch.ones(shape, dtype=torch.bool),
        mask=mask,
        logp=torch.randn(shape).where(mask, 0.0),
        group=torch.arange(PROMPTS).repeat_interleave(GROUP),
        finish=(finish,) * rows,
    )


def timed(work: Callable[[], Any], times: int) -> dict[str, float]:
    """Seconds of one call: median and deciles."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return summary(seconds[times // 10 :])


def machinery(folder: Path) -> dict[str, dict[str, float]]:
    """Seconds of an empty step, and of recording it."""
    plugins = rl.Plugins.load()
    plugins.add(Listener(), Origin("listener", "this benchmark", "local"))
    prompts = [rl.Prompt(id=str(number), text="What is this?") for number in range(PROMPTS)]
    config = rl.RunConfig.of(
        {
            "run": {"out": str(folder), "max_idle": 0},
            "prompts": {"batch": PROMPTS, "group": GROUP},
            "credit": {"use": "group"},
        }
    )
    run = assemble(
        config,
        plugins,
        {
            "prompts": prompts,
            "policy": FakePolicy(),
            "actions": [Ready(answers(prompts))],
            "rewards": {"numbers": Numbers()},
            "optimiser": Idle(),
        },
    )
    record = Record(folder, steps=1000, progress=False)

    def empty() -> tuple[rl.Experience, rl.Metrics]:
        remembered(run)
        experience, metrics = advance(run.loop)
        plugins.tell("rlaif_step_finished", step=run.step, experience=experience, metrics=metrics)
        return experience, metrics

    experience, metrics = empty()
    try:
        return {
            "machinery": timed(empty, 200),
            "recording": timed(lambda: record.step(run.step, experience, metrics), 50),
        }
    finally:
        record.close()


def real_step(model: Path) -> dict[str, float]:
    """Seconds of a real step, in a fresh process."""
    command = [sys.executable, str(HERE / "own_grpo.py"), f"--model={model}", "--steps=6"]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    seconds: dict[str, float] = json.loads(said)["seconds"]["wall"]
    return seconds


def main() -> None:
    real_data = Path(os.environ.get("RLAIF_REAL_DATA", HERE.parents[1] / "shared"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=real_data / "models" / "tiny-chat")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", action="store_true", help="keep the figures in results/<device>.json")
    options, console = parser.parse_args(), Console()
    if not options.model.is_dir():
        console.print(f"no model at {options.model}; give --model, or set RLAIF_REAL_DATA to a folder with models/")
        return
    torch.set_num_threads(1)
    rounds = []
    for _ in range(options.rounds):  # in turn, so that a busy moment falls on both alike
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(machinery(Path(folder)) | {"step": real_step(options.model)})
    seconds = {name: summary([each[name]["median"] for each in rounds]) for name in rounds[0]}
    for name, its in seconds.items():
        share = its["median"] / seconds["step"]["median"]
        console.print(f"{name:<10} {its['median'] * 1e3:8.2f} ms   {share:7.2%} of a step")
    share = seconds["machinery"]["median"] / seconds["step"]["median"]
    console.print(f"the limit is {LIMIT:.0%} of a step: {'kept' if share < LIMIT else '[bold]exceeded[/]'}")
    if options.save:
        console.print(
            "saved:", device.save("plugin machinery", {"rounds": options.rounds, "share": share, "seconds": seconds})
        )


if __name__ == "__main__":
    main()
