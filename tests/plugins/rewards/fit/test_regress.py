from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from rlaif_rewards.fit.losses import Ties, cross_entropy
from rlaif_rewards.fit.regress import classify, prefer, strongest, temperature

Array = np.ndarray


def blobs(count: int, labels: int, seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    names = random.integers(labels, size=count)
    centres = random.normal(size=(labels, 4)) * 1.5
    return centres[names] + random.normal(size=(count, 4)), names


def softmax(features: Array, weight: Array, bias: Array) -> Array:
    return torch.from_numpy(features @ weight.T + bias).softmax(1).numpy()


@pytest.mark.parametrize("labels", [2, 3])
def test_probabilities_are_those_of_scikit_learn(labels: int) -> None:
    features, names = blobs(80, labels)
    theirs = LogisticRegression(C=0.7, max_iter=1000).fit(features, names).predict_proba(features)
    found = softmax(features, *classify(features, np.eye(labels)[names], 0.7))
    np.testing.assert_allclose(found, theirs, atol=1e-6)


@pytest.mark.parametrize("labels", [2, 3])
def test_the_corrected_likelihood_with_hardly_any_noise_is_the_plain_one(labels: int) -> None:
    features, names = blobs(80, labels)
    plain = LogisticRegression(C=0.7, tol=1e-9, max_iter=9000).fit(features, names).predict_proba(features)
    found = softmax(features, *classify(sparse.csr_matrix(features), np.eye(labels)[names], 0.7, noise=1e-9))
    np.testing.assert_allclose(found, plain, atol=1e-5)


def test_flipped_labels_are_seen_through() -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(4000, 3))
    true = 1 / (1 + np.exp(-features @ np.array([2.0, -1.0, 0.0])))
    names = (random.random(4000) < true).astype(int)
    names = np.where(random.random(4000) < 0.3, 1 - names, names)
    targets = np.eye(2)[names]
    corrected = softmax(features, *classify(features, targets, 10.0, noise=0.3))[:, 1]
    plain = softmax(features, *classify(features, targets, 10.0))[:, 1]
    assert np.abs(corrected - true).mean() < 0.05
    assert np.abs(plain - true).mean() > 0.1


def test_a_shared_target_counts_as_copies() -> None:
    features, names = blobs(30, 2)
    votes = np.stack([3.0 - 2 * names, 2.0 * names + 1], 1)
    copies = [(row, name) for row in range(30) for name in (0, 1) for _ in range(int(votes[row, name]))]
    rows, labels = np.array(copies).T
    soft = softmax(features, *classify(features, votes / 4, 4.0))
    hard = softmax(features, *classify(features[rows], np.eye(2)[labels], 1.0))
    np.testing.assert_allclose(soft, hard, atol=1e-5)


def test_a_label_that_a_fold_lacks_gets_no_chance() -> None:
    features, names = blobs(40, 2)
    found = softmax(features, *classify(features, np.eye(3)[names * 2], 1.0))
    assert found[:, 1].max() < 1e-6


def test_one_label_alone_is_likely_and_not_certain() -> None:
    features, _ = blobs(40, 2)
    found = softmax(features, *classify(features, np.eye(2)[np.zeros(40, int)], 1.0))
    np.testing.assert_allclose(found[:, 1], 1 / 42)


def compared(utilities: Array, edges: list[tuple[int, int]], ties: Ties = "none", **options: Any) -> Any:
    """Every edge weighted by what the utilities make likely: what infinitely many comparisons would say."""
    from rlaif_rewards.fit.losses import outcomes

    rows = np.eye(len(utilities))
    differences = np.array([rows[one] - rows[other] for one, other in edges])
    strength = options.pop("strength", 0.0)
    targets = outcomes(torch.from_numpy(differences @ utilities), ties=ties, strength=strength).exp().numpy()
    count = len(edges)
    return prefer(
        differences, targets, 1e6, margins=np.zeros(count), annotators=np.full(count, -1), people=0, ties=ties
    )


@pytest.mark.parametrize(("ties", "strength"), [("none", 0.0), ("davidson", -0.3), ("rao_kupper", 0.6)])
def test_utilities_of_a_connected_graph_are_recovered_up_to_a_constant(ties: Ties, strength: float) -> None:
    utilities = np.array([0.0, 1.0, -0.7, 2.0])
    found = compared(utilities, [(0, 1), (1, 2), (2, 3), (3, 0)], ties, strength=strength)
    np.testing.assert_allclose(found.weight - found.weight[0], utilities, atol=1e-3)
    if ties != "none":
        assert found.tie == pytest.approx(strength, abs=1e-3)


def test_parts_that_were_never_compared_have_their_means_at_zero() -> None:
    found = compared(np.array([0.0, 1.0, 50.0, 52.0]), [(0, 1), (2, 3)])
    np.testing.assert_allclose(found.weight, [-0.5, 0.5, -1.0, 1.0], atol=1e-3)


def test_a_cycle_and_all_ties_make_all_alike() -> None:
    rows = np.eye(3)
    differences = np.array([rows[0] - rows[1], rows[1] - rows[2], rows[2] - rows[0]])
    options: dict[str, Any] = {"margins": np.zeros(3), "annotators": np.full(3, -1), "people": 0}
    cycle = prefer(differences, np.tile([1.0, 0, 0], (3, 1)), 10.0, ties="none", **options)
    np.testing.assert_allclose(cycle.weight, 0, atol=1e-6)
    tied = prefer(differences, np.tile([0, 1.0, 0], (3, 1)), 10.0, ties="davidson", **options)
    np.testing.assert_allclose(tied.weight, 0, atol=1e-6)
    assert tied.tie > 1


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_many_features_give_the_weights_of_the_plain_problem(kind: Any) -> None:
    random = np.random.default_rng(0)
    differences = random.normal(size=(12, 200))
    both = np.vstack([differences, -differences])
    theirs = LogisticRegression(C=0.8, fit_intercept=False, tol=1e-10).fit(both, np.repeat([1, 0], 12))
    targets = np.tile([1.0, 0, 0], (12, 1))
    options: dict[str, Any] = {"margins": np.zeros(12), "annotators": np.full(12, -1), "people": 0, "ties": "none"}
    found = prefer(kind(differences), targets, 1.6, **options)
    np.testing.assert_allclose(found.weight, theirs.coef_[0], atol=1e-4)


def test_an_adversary_is_found_out_and_read_the_other_way_round() -> None:
    random = np.random.default_rng(0)
    utilities = random.normal(size=12) * 1.5
    one, other = (random.integers(12, size=900) for _ in range(2))
    annotators = np.arange(900) % 3
    differences = np.eye(12)[one] - np.eye(12)[other]
    wins = random.random(900) < 1 / (1 + np.exp(-differences @ utilities))
    wins = np.where(annotators == 2, ~wins, wins)  # the third always says the contrary
    targets = np.stack([wins, np.zeros(900), ~wins], 1).astype(float)
    options: dict[str, Any] = {"margins": np.zeros(900), "ties": "none"}
    heard = prefer(differences, targets, 3.0, annotators=annotators, people=3, **options)
    assert heard.reliability[2] < 0.15 < 0.85 < heard.reliability[:2].min()
    deaf = prefer(differences, targets, 3.0, annotators=np.full(900, -1), people=0, **options)
    agreement = [np.corrcoef(found.weight, utilities)[0, 1] for found in (heard, deaf)]
    assert agreement[0] > 0.98
    assert agreement[0] > agreement[1]


def test_a_margin_drives_scores_apart() -> None:
    options: dict[str, Any] = {"annotators": np.array([-1]), "people": 0, "ties": "none"}
    gaps = [
        prefer(np.ones((1, 1)), np.array([[1.0, 0, 0]]), 5.0, margins=np.array([lead]), **options).weight[0]
        for lead in (0.0, 1.0)
    ]
    assert gaps[1] > gaps[0] + 0.3


def test_the_temperature_undoes_a_factor_and_never_does_worse() -> None:
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(size=(5000, 2)))
    targets = logits.softmax(1)  # exactly calibrated

    def loss(scale: float, by: float = 3.0) -> float:
        return cross_entropy(logits * by / scale, targets).mean().item()

    assert temperature(loss) == pytest.approx(3.0, rel=1e-3)
    assert loss(temperature(loss)) <= loss(1.0)
    assert temperature(lambda scale: 1.0) == 1.0


def test_of_equals_the_weakest_is_chosen() -> None:
    assert strongest([3.0, 1.0, 2.0], lambda strength: 0.0) == 1.0
    assert strongest([3.0, 1.0, 2.0], lambda strength: -strength) == 3.0


def test_orders_tell_utilities_and_of_two_as_much_as_pairs_do() -> None:
    draw = np.random.default_rng(0)
    truth, options = np.array([1.5, -1.0, 0.5]), {"annotators": np.full(1, -1), "people": 0, "ties": "none"}
    rows, stages = [], []
    for number in range(400):
        features = draw.normal(size=(4, 3))
        order = np.argsort(-(features @ truth + draw.gumbel(size=4)))  # Plackett-Luce (Yellott 1977)
        for place, one in enumerate(order):
            rows += [features[one] - features[other] for other in order[place + 1 :]]
            stages += [4 * number + place] * (3 - place)
    wins = np.tile([1.0, 0, 0], (len(rows), 1))
    ranking: Any = {**options, "margins": np.zeros(len(rows)), "stages": np.array(stages)}
    np.testing.assert_allclose(prefer(np.array(rows), wins, 100.0, **ranking).weight, truth, atol=0.15)
    few, own = np.array(rows[:60]), {**options, "margins": np.zeros(60)}
    alone = prefer(few, wins[:60], 1.0, stages=np.arange(60), **own)
    np.testing.assert_allclose(alone.weight, prefer(few, wins[:60], 1.0, **own).weight, atol=1e-5)
