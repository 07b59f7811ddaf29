from __future__ import annotations

import json
import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union

from rlaif_rewards.fit.config import FitConfig
from rlaif_rewards.fit.data import Labelled, Preferences
from rlaif_rewards.fit.estimate import estimate, shares
from rlaif_rewards.fit.features import ngrams
from rlaif_rewards.reading import Shown
from rlaif_rewards.scorer import load_scorer

FILLERS = "the a in on it is yes no maybe".split()


def filled(draw: random.Random, word: str) -> str:
    said = [*draw.choices(FILLERS, k=5), word]
    draw.shuffle(said)
    return " ".join(said)


def config(model: str = "", **tables: Any) -> FitConfig:
    fit = {"kind": "stacked" if model else "tfidf", **tables.pop("fit", {})}
    linear = {"strengths": [1.0, 10.0], "model": model, "max_length": 32, **tables.pop("linear", {})}
    return FitConfig.of({"data": {"label": "x", **tables.pop("data", {})}, "fit": fit, "linear": linear})


def loaded(config: FitConfig, examples: Labelled | Preferences, folder: Path) -> Any:
    stated = {"format": 1, "kind": config.fit.kind, "framing": config.framing}
    stated |= estimate(config, examples).scorer.save(folder)
    (folder / "fit.json").write_text(json.dumps(stated))
    return load_scorer(str(folder))


def test_a_loaded_folder_says_what_scikit_learn_says(toy: Labelled, tmp_path: Path) -> None:
    chosen = config(linear={"strengths": [3.0]})
    fitted = estimate(chosen, toy)
    names = [shown.answer for shown in toy.shown]
    spans = {"words": chosen.linear.words, "characters": chosen.linear.characters}
    union = make_union(
        *(
            TfidfVectorizer(analyzer=partial(ngrams, unit=unit, least=least, most=most), sublinear_tf=True, min_df=2)
            for unit, (least, most) in spans.items()
        )
    )
    theirs = make_pipeline(union, LogisticRegression(C=3.0, max_iter=1000)).fit(names, toy.targets.argmax(1))
    unseen = ["a gem, it is", "oaf on oaf", "", "nothing of these"]
    expected = theirs.decision_function(unseen) / fitted.facts["temperature"]
    scorer = loaded(chosen, toy, tmp_path)
    found = scorer.probabilities([("", text) for text in unseen])
    assert np.array(found)[:, 1] == pytest.approx(1 / (1 + np.exp(-expected)), abs=1e-6)


def test_states_of_a_language_model_are_features_too(toy: Labelled, classifier, tmp_path: Path) -> None:
    scorer = loaded(config(classifier("llama")), toy, tmp_path)
    assert [block.__class__.__name__ for block in scorer.features.blocks] == ["Tfidf", "Tfidf", "Embedding"]
    (bad, good) = scorer.probabilities([("", "it is a oaf"), ("", "it is a gem")])
    assert bad[0] > 0.9 < good[1]


def test_chances_are_those_of_rows_that_were_not_seen_and_noise_is_seen_through() -> None:
    draw, count = random.Random(1), 600
    numbers = np.arange(count) % 2
    written = np.where(np.arange(count) % 10 < 2, 1 - numbers, numbers)  # every fifth is wrong
    noisy = Labelled(
        shown=tuple(Shown("", filled(draw, ("oaf", "gem")[number])) for number in numbers),
        targets=np.eye(2)[written],
        labels=("bad", "good"),
        groups=tuple(map(str, range(count))),
    )
    unseen = [("", filled(draw, "gem")) for _ in range(200)]
    plain, corrected = (
        np.mean(
            estimate(config(fit={"noise": noise}, linear={"characters": []}), noisy).scorer.probabilities(unseen), 0
        )[1]
        for noise in (0.0, 0.2)
    )
    assert plain == pytest.approx(0.8, abs=0.05)
    assert corrected > 0.93


def test_labels_can_count_alike(toy: Labelled) -> None:
    rare = toy.take([row for row in range(120) if row % 2 == 0 or row < 20])
    assert (rare.targets @ shares(rare.targets)) @ rare.targets == pytest.approx([len(rare) / 2] * 2)
    plain, balanced = (
        estimate(config(fit={"balanced": flag}), rare).scorer.probabilities([("", "nothing")]) for flag in (False, True)
    )
    assert balanced[0][1] > plain[0][1]


def test_a_reward_model_prefers_what_was_chosen_and_is_centred(pairs: Preferences, tmp_path: Path) -> None:
    chosen = config(fit={"target": "reward_model"}, data={"prompt": "q"})
    scorer = loaded(chosen, pairs, tmp_path)
    rewards = scorer.read((*pairs.chosen, *pairs.rejected)).logits[:, 0]
    assert (rewards[:120] > rewards[120:] + 1).all()
    assert rewards.mean().item() == pytest.approx(0, abs=1e-5)


def test_ties_and_annotators_are_found_out(pairs: Preferences) -> None:
    targets = pairs.targets.copy()
    targets[::3] = [0, 1.0, 0]
    people = np.arange(120) % 4
    wrong = (people == 1) & (targets[:, 1] == 0)
    targets[wrong] = targets[wrong][:, ::-1]  # bob always says the contrary
    said = replace(pairs, targets=targets, annotators=people, people=("ann", "bob", "cat", "dan"))
    chosen = config(fit={"target": "reward_model", "ties": "davidson"}, data={"prompt": "q"})
    found = estimate(chosen, said)
    assert found.facts["reliability"]["ann"] > 0.8
    assert found.facts["reliability"]["bob"] < 0.2
    rewards = found.scorer.read((*pairs.chosen, *pairs.rejected)).logits[:, 0]
    assert (rewards[:120] > rewards[120:]).all()
    assert np.isfinite(found.facts["tie_strength"])


def test_the_same_rows_give_the_same_weights(toy: Labelled) -> None:
    one, other = (estimate(config(), toy).scorer for _ in range(2))
    np.testing.assert_array_equal(one.weight, other.weight)
