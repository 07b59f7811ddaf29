"""The examples on real text and a real checkpoint, each measured by something that its training never saw."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from types import ModuleType
from typing import Any

import pytest
import torch

import checkpoints
import rlaif_core as rl
from rlaif_core.plugins import module_of
from rlaif_core.policy import TransformersPolicy
from rlaif_rewards.classifier import Classifier

pytestmark = [pytest.mark.real, pytest.mark.slow]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SEEDS = (1, 2, 3)
DRAWS = 4
"""Answers to each prompt held out."""


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch, real_data: Path) -> None:
    monkeypatch.chdir(EXAMPLES.parent)
    monkeypatch.setenv("RLAIF_REAL_DATA", str(real_data))


@pytest.fixture(scope="module")
def model(real_data: Path) -> Path:
    return real_data / "models" / "tiny-chat"


@pytest.fixture(scope="module")
def hh() -> ModuleType:
    return module_of(EXAMPLES / "hh.py")


@pytest.fixture(scope="module")
def rows(real_data: Path) -> list[dict[str, Any]]:
    with (real_data / "data" / "pref_hh_harmless.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def toxicity(real_data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two classifiers from disjoint rows: the one that rewards, and the one that is gold."""
    example, folder = module_of(EXAMPLES / "classifier.py"), tmp_path_factory.mktemp("toxicity")
    data = real_data / "data" / "safety_hate_offensive.jsonl"
    made = (folder / "proxy", folder / "gold")
    with checkpoints.quiet():
        for half, place in enumerate(made):
            example.train(str(model), example.rows_of(data, half), place, seed=half)
            # Measured 0.92 and 0.94; a coin has 0.5.
            assert example.auc(place, example.rows_of(data, 1 - half)) > 0.88
    return made


def answers(policy: Path, prompts: list[rl.Prompt]) -> list[rl.Rollouts]:
    samplers = [TransformersPolicy(policy).sampler(seed=99, step=draw, group=1) for draw in range(DRAWS)]
    return [sampler.sample(prompts, rl.Sampling(max_tokens=32)) for sampler in samplers]


def scores(classifier: Path, said: list[rl.Rollouts]) -> list[float]:
    """Log-odds of being harmless."""
    judge = Classifier(str(classifier), label="toxic", score="logodds", negate=True)
    outcomes = [outcome for rollouts in said for outcome in judge.score(rollouts)]
    return [outcome.value for outcome in outcomes if isinstance(outcome, rl.Score)]


def error(sample: list[float]) -> float:
    return stdev(sample) / len(sample) ** 0.5


def prompts_of(rows: list[dict[str, Any]], change: Callable[..., Any]) -> list[tuple[rl.Prompt, dict[str, Any]]]:
    """The rows that `change` holds out of training."""
    made = [(number, change(row, held_out=True)) for number, row in enumerate(rows)]
    return [(rl.Prompt(id=str(number), messages=tuple(its["messages"])), its) for number, its in made if its]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_chat_model_becomes_less_toxic_by_the_word_of_a_classifier_it_never_met(
    seed: int, model: Path, hh: ModuleType, rows: list[dict[str, Any]], toxicity: tuple[Path, Path], tmp_path: Path
) -> None:
    changes = [f"run.seed={seed}", f'run.out="{tmp_path / "run"}"', f'rewards.0.model="{toxicity[0]}"']
    history = rl.run(rl.RunConfig.load("examples/harmless.toml", changes), progress=False)
    assert len(history) == 30
    first, last = ([step["reward/classifier"] for step in part] for part in (history[:5], history[-5:]))
    assert fmean(last) > fmean(first) + 0.5

    asked = [prompt for prompt, _ in prompts_of(rows, hh.opening)]
    assert len(asked) > 80
    before, after = answers(model, asked), answers(history.folder / "policy", asked)
    for classifier in toxicity:
        was, now = scores(classifier, before), scores(classifier, after)
        assert len(was) == len(now) == DRAWS * len(asked)  # every answer was scored
        assert fmean(now) - fmean(was) > 5 * (error(was) ** 2 + error(now) ** 2) ** 0.5
        toxic = [sum(value < 0 for value in values) / len(values) for values in (was, now)]
        assert toxic[1] < toxic[0] / 2
    words = [len(text.split()) for rollouts in after for text in rollouts.completions]
    assert fmean(words) > 8  # it has not fallen silent
    distinct = {text for rollouts in after for text in rollouts.completions}
    assert len(distinct) > 0.9 * len(words)  # nor does it say one thing to everybody


def margins(policy: Path, pairs: list[tuple[rl.Prompt, dict[str, Any]]]) -> torch.Tensor:
    """[P] log-prob of the chosen answer over that of the rejected one."""
    sampler = TransformersPolicy(policy).sampler(seed=0, step=0, group=1)
    found = []
    for start in range(0, len(pairs), 8):
        prompts, rows = zip(*pairs[start : start + 8], strict=True)
        said = sampler.recorded(prompts, [(row["chosen"], row["rejected"]) for row in rows])
        chosen, rejected = said.logp.sum(1).view(-1, 2).T
        found.append(chosen - rejected)
    return torch.cat(found)


@pytest.mark.timeout(1800)  # three runs
def test_recorded_preferences_carry_over_to_conversations_held_out(
    model: Path, hh: ModuleType, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Cross-validated, for 400 pairs tell more than 130, and people agree with each other on two thirds of such pairs.

    Before training every margin over the reference is 0, so that whoever prefers by it guesses: an accuracy of 0.5.
    """
    right = total = 0
    for fold in range(hh.FOLDS):
        train = [its | {"id": str(number)} for number, row in enumerate(rows) if (its := hh.pair(row, fold=fold))]
        held_out = prompts_of(rows, partial(hh.pair, fold=fold))
        assert not {row["id"] for row in train} & {prompt.id for prompt, _ in held_out}
        config = rl.RunConfig.load("examples/preferences.toml", [f'run.out="{tmp_path / str(fold)}"', 'prompts.map=""'])
        history = rl.run(config, prompts=train, progress=False)
        assert history[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
        assert fmean(step["accuracy"] for step in history[-3:]) > 0.8  # of pairs that it has seen before
        gained = margins(history.folder / "policy", held_out) - margins(model, held_out)
        right += int((gained > 0).sum())
        total += len(gained)
    assert total > 380
    assert right / total > 0.5 + 2 * (0.25 / total) ** 0.5  # measured: 0.60
