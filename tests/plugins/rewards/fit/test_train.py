from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rlaif_core import TrainingError
from rlaif_rewards.fit.config import FitConfig
from rlaif_rewards.fit.data import Labelled, Preferences
from rlaif_rewards.fit.odin import lengths
from rlaif_rewards.fit.train import Trainee, _batches, _units, train
from rlaif_rewards.reading import Shown
from rlaif_rewards.scorer import load_scorer

FILLERS = "the a in on it is yes no maybe".split()
SMALL = {"hidden": 32, "layers": 1, "heads": 2, "vocabulary": 400, "max_length": 32, "epochs": 6, "lr": 3e-3}


def config(target: str = "classifier", **tables: Any) -> FitConfig:
    data = {"label": "x"} if target == "classifier" else {}
    fit = {"kind": "transformer", "target": target, "framing": "none", **tables.pop("fit", {})}
    return FitConfig.of({"data": data, "fit": fit, "transformer": {**SMALL, **tables.pop("transformer", {})}})


def folder_of(trainee: Trainee, folder: Path) -> Any:
    stated = {"format": 1, "kind": "transformer", "framing": trainee.config.framing, **trainee.save(folder)}
    (folder / "fit.json").write_text(json.dumps(stated))
    return load_scorer(str(folder))


def silent(_: str) -> None:
    pass


def test_a_new_model_learns_and_its_folder_says_the_same(toy: Labelled, tmp_path: Path) -> None:
    told: list[str] = []
    trainee = train(config(), toy, told.append)
    assert told[0].startswith("epoch 1: validation loss ")
    curve = trainee.facts["validation_loss"]
    assert min(curve) < 0.3 < curve[0]
    scorer = folder_of(trainee, tmp_path)
    logits = scorer.read(toy.shown).logits
    assert torch.equal(logits, trainee.said(trainee.encode(toy.shown)))
    assert (logits.argmax(1).numpy() == toy.targets.argmax(1)).mean() > 0.95
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).config.id2label == {0: "bad", 1: "good"}


def test_the_same_seed_gives_the_same_weights_and_another_does_not(toy: Labelled) -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed + 99)  # what happened before does not matter
        trainee = train(config(fit={"seed": seed}, transformer={"epochs": 1}), toy, silent)
        return torch.cat([parameter.flatten() for parameter in trainee.model.parameters()])

    one = weights(0)
    assert torch.equal(one, weights(0))
    assert one.shape != weights(1).shape or not torch.equal(one, weights(1))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_checkpoint_is_trained_as_a_reward_model(classifier, pairs: Preferences, tmp_path: Path, family: str) -> None:
    words = replace(
        pairs,
        chosen=tuple(replace(s, answer=s.answer.replace("gem", "green")) for s in pairs.chosen),
        rejected=tuple(replace(s, answer=s.answer.replace("oaf", "blue")) for s in pairs.rejected),
    )
    chosen = config("reward_model", transformer={"model": classifier(family), "epochs": 8, "patience": 8})
    trainee = train(chosen, words, silent)
    scorer = folder_of(trainee, tmp_path)
    assert scorer.labels == ["reward"]
    better, worse = scorer.read((*words.chosen, *words.rejected)).logits[:, 0].chunk(2)
    assert (better > worse).float().mean() > 0.9
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path).config.num_labels == 1


def test_lists_are_never_torn_into_batches(pairs: Preferences) -> None:
    staged = replace(pairs, stages=np.repeat(np.arange(40), 3))
    batches = list(_batches(_units(staged), 7, random.Random(0)))
    assert sorted(row for rows in batches for row in rows) == list(range(120))
    assert {len(rows) for rows in batches} <= {9, 3, 6}
    assert all(len(set(rows) & {*range(at, at + 3)}) in (0, 3) for rows in batches for at in range(0, 120, 3))
    assert [len(rows) for rows in _batches(_units(pairs), 50, random.Random(0))] == [50, 50, 20]


def long_winded(share: float, count: int = 240, seed: int = 0) -> Preferences:
    """Pairs in which "gem" is the better one, and with this probability the longer one too is called so."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        good, long = draw.random() < 0.5, draw.random() < 0.5
        one, other = (
            Shown("is it", " ".join([word, *draw.choices(FILLERS, k=size)]))
            for word, size in ((("oaf", "gem")[good], (4, 12)[long]), (("gem", "oaf")[good], (12, 4)[long]))
        )
        first = long if draw.random() < share else good
        rows.append((one, other) if first else (other, one))
    return Preferences(
        chosen=tuple(one for one, _ in rows),
        rejected=tuple(other for _, other in rows),
        targets=np.tile([1.0, 0, 0], (count, 1)),
        margins=np.zeros(count),
        annotators=np.full(count, -1),
        people=(),
        groups=tuple(map(str, range(count))),
        stages=np.arange(count),
    )


def test_a_length_head_takes_length_out_of_the_reward_and_is_not_saved(tmp_path: Path) -> None:
    biased, fair = long_winded(0.6), long_winded(0.0, seed=1)
    shown = (*fair.chosen, *fair.rejected)
    found = {}
    for odin in (False, True):
        trainee = train(config("reward_model", fit={"odin": odin}, transformer={"epochs": 8}), biased, silent)
        rewards = trainee.heads(shown)
        better, worse = np.split(rewards[:, 0], 2)
        found[odin] = np.corrcoef(rewards[:, 0], lengths(shown))[0, 1], (better > worse).mean()
    assert abs(found[True][0]) < 0.3 < found[False][0]
    assert found[True][1] > found[False][1]
    assert np.corrcoef(rewards[:, 1], lengths(shown))[0, 1] > 0.8
    scorer = folder_of(trainee, tmp_path)
    assert scorer.labels == ["reward"]
    np.testing.assert_allclose(scorer.read(shown).logits[:, 0].numpy(), rewards[:, 0], atol=1e-6)
    np.testing.assert_array_equal(trainee.heads(shown), rewards)  # saving has changed nothing


def test_ties_margins_and_annotators_are_learnt_beside(pairs: Preferences) -> None:
    targets = pairs.targets.copy()
    targets[::4] = [0, 1.0, 0]
    people = np.arange(120) % 3
    wrong = (people == 2) & (targets[:, 1] == 0)
    targets[wrong] = targets[wrong][:, ::-1]
    said = replace(pairs, targets=targets, annotators=people, people=("a", "b", "c"), margins=np.full(120, 0.1))
    chosen = config("reward_model", fit={"ties": "rao_kupper"}, transformer={"epochs": 15, "patience": 15})
    facts = train(chosen, said, silent).facts
    assert facts["reliability"]["c"] < 0.7 < facts["reliability"]["a"]
    assert facts["tie_strength"] != -0.5


def test_labels_can_count_alike(toy: Labelled) -> None:
    rare = toy.take([row for row in range(120) if row % 2 == 0 or row < 20])
    trainee = Trainee(config(fit={"balanced": True}), rare)
    losses = trainee.losses(torch.zeros(len(rare), 2), rare)
    sums = losses.detach().numpy() @ rare.targets
    assert sums == pytest.approx([len(rare) / 2 * math.log(2)] * 2, rel=1e-5)


def test_dividing_the_head_divides_what_it_says(classifier, toy: Labelled) -> None:
    for family in ("llama", "bert", "gpt2", "roberta"):
        trainee = Trainee(config(transformer={"model": classifier(family)}), toy)
        texts = trainee.encode(toy.shown[:5])
        before = trainee.said(texts)
        trainee.cool(2.5)
        torch.testing.assert_close(trainee.said(texts), before / 2.5, atol=1e-5, rtol=1e-4)


def test_training_stops_where_validation_gets_no_better(toy: Labelled) -> None:
    random = np.random.default_rng(0)
    noise = replace(toy, targets=np.eye(2)[random.integers(2, size=120)])
    chosen = config(transformer={"epochs": 40, "patience": 1, "lr": 1e-2})
    facts = train(chosen, noise, silent).facts
    assert len(facts["validation_loss"]) < 20


def test_a_loss_that_is_no_number_stops_and_says_so(toy: Labelled) -> None:
    broken = replace(toy, targets=np.full_like(toy.targets, math.nan))
    with pytest.raises(TrainingError, match=r"in epoch 1; lower \[transformer\] lr"):
        train(config(), broken, silent)
