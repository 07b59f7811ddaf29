from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlaif_core.logistic import sigmoid
from rlaif_fusion.dawid_skene import dawid_skene
from rlaif_fusion.pairs import Pairs, gather
from rlaif_fusion.stacking import design, frozen, probabilities, read_off, stack


def pairs(said: dict[str, Any], **options: Any) -> Pairs:
    return gather(said, **({"kinds": {}, "positions": {}, "lengths": None, "features": None} | options))


def voters(accuracies: list[float], count: int, seed: int, copies: int = 0) -> tuple[Pairs, np.ndarray]:
    """Independent voters, the first of which is followed blindly by so many others; and what is true."""
    random = np.random.default_rng(seed)
    truth = (random.random(count) < 0.5).astype(float)
    columns = [np.where(random.random(count) < p, truth, 1 - truth) for p in accuracies]
    columns += [columns[0]] * copies
    return pairs({f"s{place}": column.tolist() for place, column in enumerate(columns)}), truth


def test_weights_read_off_dawid_and_skene_are_its_log_odds() -> None:
    given, _ = voters([0.9, 0.75, 0.6], 500, 0)
    leaning = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    votes = (given.votes + 1).astype(int)
    fitted = dawid_skene(votes, 2, categories=3, leaning=leaning, mirrored=True)
    frame = design(given, mirrored=True, length=False)
    found = read_off(frame, fitted.posterior[:, 1])
    expected = np.log(fitted.confusion[:, 1, 2] / fitted.confusion[:, 1, 0])
    assert found == pytest.approx(expected, rel=0.02)
    assert probabilities(frame, found) == pytest.approx(fitted.posterior[:, 1], abs=2e-3)


def test_followers_are_not_counted_twice_where_labels_tell() -> None:
    given, truth = voters([0.6, 0.8, 0.8], 3000, 1, copies=3)
    frame = design(given, mirrored=True, length=False)
    naive = np.full(6, 1.0)
    labels = np.where(np.arange(3000) < 300, truth, np.nan)
    found = stack(frame, labels, {"equal": lambda _: naive})
    accuracy = {
        name: ((probabilities(frame, its) > 0.5) == truth)[300:].mean()
        for name, its in (("naive", naive), ("stacked", found.coefficients))
    }
    assert accuracy["naive"] < 0.65  # the four that are one outvote the rest
    assert accuracy["stacked"] > accuracy["naive"] + 0.12
    assert (found.coefficients[1:3] > found.coefficients[0]).all()


def test_few_labels_leave_good_weights_alone() -> None:
    given, truth = voters([0.9, 0.8, 0.7, 0.6, 0.55, 0.52], 2000, 2)
    frame = design(given, mirrored=True, length=False)
    best = np.log(np.array([0.9, 0.8, 0.7, 0.6, 0.55, 0.52]) / (1 - np.array([0.9, 0.8, 0.7, 0.6, 0.55, 0.52])))
    labels = np.where(np.arange(2000) < 30, truth, np.nan)
    found = stack(frame, labels, {"best": lambda _: best, "nonsense": lambda _: -np.arange(6.0)})
    assert found.towards == "best"
    assert np.corrcoef(found.coefficients, best)[0, 1] > 0.9


def test_models_never_see_the_labels_that_they_are_measured_on() -> None:
    given, truth = voters([0.8, 0.7], 50, 3)
    seen: list[np.ndarray] = []

    def model(labels: np.ndarray) -> np.ndarray:
        seen.append(~np.isnan(labels))
        return np.ones(2)

    stack(design(given, mirrored=True, length=False), truth, {"it": model})
    held = ~np.array(seen[:-1])
    assert (held.sum(0) == 1).all()  # every label is held back once
    assert seen[-1].all()


def test_frozen_fusion_gives_the_same_probabilities() -> None:
    random = np.random.default_rng(4)
    count = 40
    said: dict[str, Any] = {
        "v": random.choice([0.0, 0.5, 1.0], count).tolist(),
        "p": random.random(count).tolist(),
        "s": random.normal(size=count).tolist(),
        "quiet": [None] * count,
    }
    said["v"][3] = said["s"][5] = None
    places = {"v": random.choice([-1.0, 1.0], count).tolist()}
    lengths, features = random.uniform(-1, 1, count).tolist(), random.normal(size=(count, 2)).tolist()
    given = pairs(said, kinds={"p": "probability", "s": "score"}, positions=places, lengths=lengths, features=features)
    frame = design(given, mirrored=False, length=True)
    coefficients = random.normal(size=frame.matrix.shape[1])
    fusion = frozen(given, frame, coefficients, "by hand", ("so",))
    expected = probabilities(frame, coefficients)
    for row in range(count):
        found = fusion.probability(
            {name: column[row] for name, column in said.items()},
            positions={"v": places["v"][row]},
            length=lengths[row],
            features=features[row],
        )
        assert found == pytest.approx(expected[row], abs=1e-12)
    assert fusion.weights["quiet"].slope == 0.0


def test_mirrored_design_changes_sign_with_the_order_of_the_answers() -> None:
    random = np.random.default_rng(5)
    said = random.random(30)
    options: dict[str, Any] = {"kinds": {"p": "probability"}}
    there, back = (
        design(pairs({"p": its.tolist()}, lengths=sign.tolist(), **options), mirrored=True, length=True).matrix
        for its, sign in ((said, said - 0.5), (1 - said, 0.5 - said))
    )
    assert there == pytest.approx(-back)
    assert sigmoid(there @ np.ones(2)) + sigmoid(back @ np.ones(2)) == pytest.approx(1)
