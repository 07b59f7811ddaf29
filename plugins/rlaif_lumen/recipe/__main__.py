"""`python -m rlaif_lumen.recipe`: make the packaged weights again. Minutes on two cores; the same seed on the same
machine gives the same bits.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers.utils import logging

from rlaif_core import Prompt
from rlaif_core.policy import TransformersPolicy
from rlaif_lumen.evaluate import evaluate, sampled
from rlaif_lumen.reader import load_reader
from rlaif_lumen.recipe import judge, labels, policy
from rlaif_lumen.recipe.train import FILLED
from rlaif_lumen.world import SEED, World, make_world

WEIGHTS = Path(__file__).parents[1] / "weights"
THREADS = 2
"""Fixed, because sums over another number of threads round differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much of everything. A batch of the policy or the textbook is about a thousand tokens."""

    policy_steps: int = 1200
    textbook_steps: int = 500
    label_steps: int = 900
    families: int = 3900
    held_out: int = 1000
    prompts: int = 1920

    @classmethod
    def of(cls, scale: float) -> Budget:
        """The full budget times `scale`, nothing below 8."""
        return cls(**{name: max(8, round(scale * amount)) for name, amount in asdict(cls()).items()})


def make(out: Path, *, seed: int, budget: Budget) -> dict[str, Any]:
    """Make policy and judge under `out` and return what was measured of them."""
    world = make_world(SEED)
    folder = out / "policy"
    policy.save_policy(policy.train_policy(world, steps=budget.policy_steps, seed=seed, report=typer.echo), folder)
    base = TransformersPolicy(folder, device="cpu")
    measured = {"policy": {split: _strata(base, budget, split) for split in ("train", "holdout")}}
    measured["judge"] = _make_judge(out / "judge", base, world, seed=seed, budget=budget)
    for part, its in measured.items():
        made = {"seed": seed, "budget": asdict(budget), "measured": its}
        (out / part / "report.json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    return measured


def _strata(base: TransformersPolicy, budget: Budget, split: Any) -> dict[str, Any]:
    """Measures of the policy as saved, sampled at temperature 1, and gold by stratum."""
    found = evaluate(sampled(base), count=budget.prompts, split=split)
    gold = {
        stratum: {"prompts": count, "gold": mean} | shares
        for stratum, (count, mean, shares) in found.by_stratum().items()
    }
    return {"measures": _rounded(found.measures), "strata": {name: _rounded(its) for name, its in gold.items()}}


def _make_judge(
    folder: Path, base: TransformersPolicy, world: World, *, seed: int, budget: Budget
) -> dict[str, dict[str, float]]:
    """Train the judge, and measure it as saved: on labels it never saw, apart for facts that annotators know or not."""
    known = labels.covered_keys(world, seed)
    reader = judge.new_reader(seed + 1)
    tokens = budget.textbook_steps * judge.ROWS * judge.WIDTH * FILLED
    judge.study(reader, judge.textbook(world, known, seed=seed, tokens=tokens), report=typer.echo)
    revision = judge.textbook(world, known, seed=seed + 1)
    school = labels.School(world, known, f"{seed}/train")
    typer.echo(f"judge: labelling answers to {budget.families} conversations")
    lessons = answered(school, base, budget.families)
    judge.train_judge(reader, lessons, revision=revision, steps=budget.label_steps, seed=seed, report=typer.echo)
    reader.to(torch.bfloat16).save_pretrained(folder)
    saved = load_reader(folder)
    exam = labels.School(world, known, f"{seed}/held out")
    families = answered(exam, base, budget.held_out)
    return {
        part: _rounded(judge.measure(saved, [its for its in families if its.covered == covered], exam.opinions))
        for part, covered in (("covered", True), ("uncovered", False))
    }


def answered(school: labels.School, base: TransformersPolicy, count: int) -> list[labels.Family]:
    """Families of answers around two samples of the policy each."""
    scenes = school.scenes(count)
    asked = [Prompt(id=f"{n}-{k}", messages=tuple(scene.messages)) for n, scene in enumerate(scenes) for k in (0, 1)]
    said = sampled(base)(asked)
    return [school.family(scene, said[2 * n : 2 * n + 2]) for n, scene in enumerate(scenes)]


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def main(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for policy/ and judge/.")] = WEIGHTS,
    seed: Annotated[int, typer.Option(help="Of both trainings; the world stays the same.")] = 1,
    scale: Annotated[float, typer.Option(min=0, help="Share of the full budget, for a quick try.")] = 1.0,
) -> None:
    """Make the packaged weights again."""
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    logging.disable_progress_bar()
    began = time.perf_counter()
    typer.echo(json.dumps(make(out, seed=seed, budget=Budget.of(scale)), indent=2))
    typer.echo(f"{out}: made in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    typer.run(main)
