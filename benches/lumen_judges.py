"""More judges of the embedded world, for benches: one textbook, several schools.

Each is trained as the packaged judge was, by the recipe, knows the same facts as that, and asks annotators of its own.
All begin from one reader that has read the textbook once, so that their weights may be averaged. What is made stays in
a folder, and is not made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from rlaif_core.policy import TransformersPolicy
from rlaif_lumen.policy import FOLDER
from rlaif_lumen.reader import Reader, load_reader
from rlaif_lumen.recipe import judge, labels
from rlaif_lumen.recipe.__main__ import Budget, answered
from rlaif_lumen.recipe.train import FILLED
from rlaif_lumen.world import SEED, World, make_world

ANNOTATORS = 1
"""The seed of which facts annotators know: that of the packaged judge, so that a panel knows no more than it."""
PRETRAINED = "textbook"


def judges(folder: Path, seeds: Sequence[int], budget: Budget) -> list[Path]:
    """The folders of one judge a seed, made where they are missing."""
    return [made(folder, seed, budget) for seed in seeds]


def made(folder: Path, seed: int, budget: Budget) -> Path:
    """The judge of one seed: the common reader, and then a school of its own."""
    final = folder / f"judge-{seed}"
    if (final / "model.safetensors").is_file():
        return final
    world = make_world(SEED)
    known = labels.covered_keys(world, ANNOTATORS)
    reader = pretrained(folder / PRETRAINED, world, known, budget)
    print(f"judge {seed}: labelling answers to {budget.families} conversations", flush=True)
    lessons = answered(
        labels.School(world, known, f"{seed}/train"), TransformersPolicy(FOLDER, device="cpu"), budget.families
    )
    revision = judge.textbook(world, known, seed=seed + 1)
    judge.train_judge(reader.train(), lessons, revision=revision, steps=budget.label_steps, seed=seed, report=_printed)
    reader.to(torch.bfloat16).save_pretrained(final)
    return final


def averaged(folder: Path, members: Sequence[Path]) -> Path:
    """A judge with the mean of the members' weights (WARM), which began from one reader."""
    readers = [load_reader(member) for member in members]
    mean = readers[0]
    with torch.no_grad():
        for name, weight in mean.named_parameters():
            weight.copy_(torch.stack([dict(its.named_parameters())[name].double() for its in readers]).mean(0))
    mean.save_pretrained(folder)
    return folder


def pretrained(folder: Path, world: World, known: frozenset[labels.Key], budget: Budget) -> Reader:
    """The reader that all begin from."""
    if not (folder / "model.safetensors").is_file():
        reader = judge.new_reader(ANNOTATORS)
        tokens = budget.textbook_steps * judge.ROWS * judge.WIDTH * FILLED
        judge.study(reader, judge.textbook(world, known, seed=ANNOTATORS, tokens=tokens), report=_printed)
        reader.save_pretrained(folder)
    return load_reader(folder)


def _printed(line: str) -> None:
    print(line, flush=True)
