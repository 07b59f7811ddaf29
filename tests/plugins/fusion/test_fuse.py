from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif_core import ConfigError, DataError
from rlaif_fusion.fuse import Fused, fuse

METHODS = ("majority", "dawid_skene", "joint", "stacking")
SAID = st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, None])] * 3), min_size=4, max_size=10)


def voters(
    accuracies: dict[str, float], count: int = 300, seed: int = 0, missing: float = 0.0
) -> tuple[dict[str, list[float | None]], list[float]]:
    random = np.random.default_rng(seed)
    truth = (random.random(count) < 0.5).astype(float)
    said = {}
    for name, accuracy in accuracies.items():
        votes = np.where(random.random(count) < accuracy, truth, 1 - truth)
        said[name] = [
            None if quiet else float(v) for v, quiet in zip(votes, random.random(count) < missing, strict=True)
        ]
    return said, truth.tolist()


def accuracy(fused: Fused, truth: list[float], rows: range | None = None) -> float:
    rows = rows or range(len(truth))
    probabilities = [fused.probabilities[row] or 0.5 for row in rows]
    return float(np.mean([(p > 0.5) == (truth[row] == 1) for p, row in zip(probabilities, rows, strict=True)]))


@pytest.mark.parametrize("method", METHODS)
def test_fused_beats_every_source(method: Any) -> None:
    said, truth = voters({"a": 0.8, "b": 0.75, "c": 0.75, "d": 0.7}, 1000, missing=0.2)
    trusted = [label if row < 60 else None for row, label in enumerate(truth)]
    fused = fuse(said, trusted, method=method)
    assert fused.method == method
    assert accuracy(fused, truth, range(60, 1000)) > 0.82


def test_reliabilities_are_those_of_the_sources() -> None:
    accuracies = {"a": 0.9, "b": 0.8, "c": 0.75, "d": 0.7, "e": 0.6}
    held = []
    for seed in range(6):
        said, _ = voters(accuracies, 500, seed)
        fused = fuse(said)
        assert fused.method == "dawid_skene"
        held += [its.low <= accuracies[name] <= its.high for name, its in fused.reliability.items()]  # type: ignore[operator]
        assert max(accuracies, key=lambda name: fused.reliability[name].value or 0) == "a"
    assert np.mean(held) > 0.85


def test_auto_learns_where_labels_are_and_looks_for_biases_where_places_are_known() -> None:
    said, truth = voters({"a": 0.8, "b": 0.7, "c": 0.7}, 60)
    assert fuse(said).method == "dawid_skene"
    assert fuse(said, lengths=[0.1] * 60).method == "joint"
    assert fuse(said, positions={"a": [1.0, -1.0] * 30}).method == "joint"
    assert fuse(said, [*truth[:19], *[None] * 41]).method == "dawid_skene"
    assert fuse(said, [*truth[:20], *[None] * 40]).method == "stacking"
    assert fuse(said, [1.0] * 30 + [None] * 30, mirrored=False).method == "dawid_skene"


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=10)
@given(rows=SAID)
def test_exchanging_answers_turns_probabilities(method: Any, rows: list[tuple[float | None, ...]]) -> None:
    said = {f"s{place}": list(column) for place, column in enumerate(zip(*rows, strict=True))}
    if all(value is None for row in rows for value in row):
        return
    turned = {name: [None if v is None else 1 - v for v in column] for name, column in said.items()}
    trusted = [1.0, 0.0, *[None] * (len(rows) - 2)]
    other = [0.0, 1.0, *[None] * (len(rows) - 2)]
    one, two = fuse(said, trusted, method=method), fuse(turned, other, method=method)
    for p, q in zip(one.probabilities, two.probabilities, strict=True):
        assert (p is None) == (q is None)
        if p is not None and q is not None:
            assert p + q == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_silent_source_changes_nothing_and_is_noted(method: Any) -> None:
    said, truth = voters({"a": 0.8, "b": 0.7, "c": 0.6}, 80)
    trusted = [*truth[:30], *[None] * 50]
    alone = fuse(said, trusted, method=method)
    more = fuse(said | {"quiet": [None] * 80}, trusted, method=method)
    assert more.probabilities == pytest.approx(alone.probabilities, abs=1e-6)
    assert "quiet said nothing about any pair" in more.notes
    assert more.reliability["quiet"].value is None


def test_pair_that_nobody_judged_has_no_probability() -> None:
    said, _ = voters({"a": 0.8, "b": 0.7}, 40)
    for column in said.values():
        column[7] = None
    assert fuse(said).probabilities[7] is None
    assert fuse(said, features=[[0.0]] * 40).probabilities[7] == pytest.approx(0.5)


@pytest.mark.parametrize("method", METHODS)
def test_fusion_that_is_kept_says_the_same(method: Any) -> None:
    said, truth = voters({"a": 0.8, "b": 0.7, "c": 0.6}, 80, missing=0.3)
    fused = fuse(said, [*truth[:30], *[None] * 50], method=method)
    for row in range(80):
        found = fused.fusion.probability({name: column[row] for name, column in said.items()})
        expected = fused.probabilities[row]
        assert found == (None if expected is None else pytest.approx(expected, abs=1e-9))


def test_same_arguments_give_the_same_result() -> None:
    said, truth = voters({"a": 0.8, "b": 0.7, "c": 0.6}, 80)
    assert fuse(said, truth, seed=3) == fuse(said, truth, seed=3)


def test_agreement_beyond_chance_is_noted_where_no_label_tells() -> None:
    said, _ = voters({"a": 0.7, "b": 0.8, "c": 0.8, "d": 0.75}, 600)
    fused = fuse(said | {"copy": said["a"]})
    assert any(note.startswith("a and copy agree ") for note in fused.notes)
    assert not any("b and c" in note for note in fused.notes)


def test_place_and_length_that_sway_a_source_are_found() -> None:
    random = np.random.default_rng(1)
    said, _ = voters({"a": 0.8, "b": 0.8, "swayed": 0.75}, 800)
    places = random.choice([-1.0, 1.0], 800)
    said["swayed"] = [1.0 if place > 0 and random.random() < 0.5 else v for v, place in zip(said["swayed"], places)]  # noqa: B905
    fused = fuse(said, positions={"swayed": places.tolist()})
    assert fused.bias["swayed"]["position"] > 0.5
    assert fused.bias["a"] == {}


@pytest.mark.parametrize(
    ("arguments", "options", "error", "complaint"),
    [
        (({"a": [1.0]},), {"method": "magic"}, ConfigError, "no method 'magic'"),
        (({"a": [1.0]},), {"level": 95}, ConfigError, "level"),
        (({"a": [1.0]},), {"method": "stacking"}, DataError, "there are none"),
        (({"a": [None]},), {}, DataError, "no source said anything"),
        (({"a": []},), {}, DataError, "no source said anything"),
        (({"a": [1.0]}, [1.0, 0.0]), {}, DataError, "2 trusted labels"),
    ],
)
def test_what_cannot_be_fused_is_refused(arguments: Any, options: Any, error: Any, complaint: str) -> None:
    with pytest.raises(error, match=complaint):
        fuse(*arguments, **options)


# ---- on what people and models really said ----


def llmbar(folder: Path) -> tuple[dict[str, list[float | None]], list[float]]:
    """Votes of five models, asked in two ways, both orders averaged; and the benchmark's labels."""
    with (folder / "data" / "judge_llmbar.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    items = list(dict.fromkeys(row["item"] for row in rows))
    heard: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if row["winner"] is not None:
            votes = heard.setdefault(f"{row['judge']} {row['strategy']}", {})
            votes.setdefault(row["item"], []).append(float(row["winner"] == 1))
    label = {row["item"]: float(row["label"] == 1) for row in rows}
    said: dict[str, list[float | None]] = {
        name: [float(np.mean(votes[item])) if item in votes else None for item in items]
        for name, votes in heard.items()
    }
    return said, [label[item] for item in items]


@pytest.mark.real
def test_five_models_together_judge_better_than_the_best_of_them(real_data: Path) -> None:
    said, gold = llmbar(real_data)
    gains = []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(gold))
        known = set(order[:80].tolist())
        fused = fuse(said, [label if row in known else None for row, label in enumerate(gold)], seed=seed)
        out = order[80:].tolist()

        def share(votes: Any, rows: list[int]) -> float:
            sides = [votes[row] if votes[row] is not None else 0.5 for row in rows]
            return float(np.mean([0.5 if v == 0.5 else (v > 0.5) == (gold[r] == 1) for v, r in zip(sides, rows)]))  # noqa: B905

        gains.append(share(fused.probabilities, out) - max(share(votes, out) for votes in said.values()))
    assert np.mean(gains) > 0.02
