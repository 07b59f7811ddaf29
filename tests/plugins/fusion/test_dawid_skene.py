from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif_core import DataError
from rlaif_fusion.dawid_skene import dawid_skene

TABLES = st.lists(st.lists(st.integers(-1, 2), min_size=4, max_size=4), min_size=1, max_size=15)


def simulated(
    count: int, accuracies: list[float], *, truths: int = 2, missing: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Votes [N, S] of independent sources that err evenly over the other classes, and what is true [N]."""
    random = np.random.default_rng(seed)
    truth = random.integers(truths, size=count)
    votes = np.empty((count, len(accuracies)), dtype=np.int64)
    for source, accuracy in enumerate(accuracies):
        wrong = (truth + random.integers(1, truths, size=count)) % truths
        votes[:, source] = np.where(random.random(count) < accuracy, truth, wrong)
    votes[random.random(votes.shape) < missing] = -1
    return votes, truth


def right(confusion: np.ndarray) -> np.ndarray:
    """Every source's accuracy where truths are equally frequent."""
    return np.einsum("skk->s", confusion) / confusion.shape[1]


@settings(max_examples=40)
@given(TABLES, st.booleans())
def test_objective_never_falls(table: list[list[int]], mirrored: bool) -> None:
    fitted = dawid_skene(np.array(table), 3, mirrored=mirrored)
    assert (np.diff(fitted.objective) >= -1e-7 * (1 + np.abs(fitted.objective[:-1]))).all()
    assert fitted.posterior.sum(1) == pytest.approx(1)
    assert fitted.confusion.sum(2) == pytest.approx(1)
    assert fitted.prior.sum() == pytest.approx(1)


def test_posterior_is_bayes_rule_with_the_parameters_found() -> None:
    votes, _ = simulated(60, [0.9, 0.7, 0.6], truths=3, missing=0.3)
    fitted = dawid_skene(votes, 3)
    for row in range(20):
        joint = [
            fitted.prior[truth]
            * math.prod(fitted.confusion[s, truth, vote] for s, vote in enumerate(votes[row]) if vote >= 0)
            for truth in range(3)
        ]
        assert fitted.posterior[row] == pytest.approx(np.array(joint) / sum(joint), abs=1e-3)


def test_perfect_sources_are_the_majority() -> None:
    truth = np.array([0, 1, 2, 1, 0, 2])
    fitted = dawid_skene(np.stack([truth] * 3, 1), 3)
    assert (fitted.posterior.argmax(1) == truth).all()
    assert fitted.posterior.max(1).min() > 0.99


def test_three_sources_are_recovered_as_their_agreements_say() -> None:
    votes, _ = simulated(20_000, [0.90, 0.75, 0.60])
    found = right(dawid_skene(votes, 2, mirrored=True).confusion)
    same = {(i, j): 2 * (votes[:, i] == votes[:, j]).mean() - 1 for i in range(3) for j in range(3)}
    others = [(1, 2), (0, 2), (0, 1)]
    closed = [0.5 + math.sqrt(same[i, j] * same[i, k] / same[j, k]) / 2 for i, (j, k) in enumerate(others)]
    assert found == pytest.approx(closed, abs=2e-3)  # (2p - 1) = sqrt(c_ij c_ik / c_jk)
    assert found == pytest.approx([0.90, 0.75, 0.60], abs=0.02)


def test_gaps_do_not_bias_and_many_classes_do_not_matter() -> None:
    votes, truth = simulated(4000, [0.9, 0.8, 0.7, 0.6], truths=4, missing=0.4)
    fitted = dawid_skene(votes, 4)
    assert right(fitted.confusion) == pytest.approx([0.9, 0.8, 0.7, 0.6], abs=0.04)
    heard = (votes >= 0).any(1)
    assert (fitted.posterior.argmax(1) == truth)[heard].mean() > 0.84
    assert fitted.posterior[~heard] == pytest.approx(np.tile(fitted.prior, ((~heard).sum(), 1)))


def test_adversary_is_found_and_read_the_other_way_round() -> None:
    votes, truth = simulated(1000, [0.8, 0.75, 0.8, 0.05])
    fitted = dawid_skene(votes, 2)
    assert right(fitted.confusion)[3] < 0.1
    without = dawid_skene(votes[:, :3], 2)
    accuracy, less = ((its.posterior.argmax(1) == truth).mean() for its in (fitted, without))
    assert accuracy > less + 0.04  # whoever is always wrong is as good as who is always right


def test_trusted_labels_stand_and_turn_a_wrong_majority_around() -> None:
    votes, truth = simulated(400, [0.3, 0.25, 0.35])  # most are wrong: without labels the mirror image is likelier
    trusted = np.where(np.arange(400) < 60, truth, -1)
    assert (dawid_skene(votes, 2).posterior.argmax(1) == truth).mean() < 0.3
    fitted = dawid_skene(votes, 2, trusted=trusted)
    assert (fitted.posterior[:60].argmax(1) == truth[:60]).all()
    assert (fitted.posterior[60:].argmax(1) == truth[60:]).mean() > 0.7


@settings(max_examples=40)
@given(TABLES, st.permutations(range(4)))
def test_order_of_sources_and_items_changes_nothing(table: list[list[int]], order: list[int]) -> None:
    votes = np.array(table)
    fitted, mixed = dawid_skene(votes, 3), dawid_skene(votes[::-1][:, order], 3)
    assert mixed.posterior[::-1] == pytest.approx(fitted.posterior, abs=1e-4)


@settings(max_examples=40)
@given(TABLES)
def test_source_that_says_nothing_changes_nothing(table: list[list[int]]) -> None:
    votes = np.array(table)
    more = np.concatenate([votes, np.full((len(votes), 1), -1)], 1)
    assert dawid_skene(more, 3).posterior == pytest.approx(dawid_skene(votes, 3).posterior, abs=1e-4)


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(-1, 2), min_size=3, max_size=3), min_size=1, max_size=12))
def test_mirrored_does_not_mind_which_answer_comes_first(table: list[list[int]]) -> None:
    votes = np.array(table)  # 0 second, 1 neither, 2 first
    leaning = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    turned = np.where(votes >= 0, 2 - votes, -1)
    options = {"categories": 3, "leaning": leaning, "mirrored": True}
    fitted, other = (dawid_skene(its, 2, **options) for its in (votes, turned))
    assert other.posterior[:, ::-1] == pytest.approx(fitted.posterior, abs=1e-4)


@pytest.mark.parametrize(
    ("votes", "trusted", "complaint"),
    [
        (np.zeros((0, 2), dtype=int), None, "some items"),
        (np.zeros((2, 2)), None, "whole numbers"),
        (np.array([[3]]), None, "from 0 to 1"),
        (np.array([[-2]]), None, "from 0 to 1"),
        (np.array([[0]]), np.array([2]), "trusted labels"),
        (np.array([[0]]), np.array([0, 1]), "trusted labels"),
    ],
)
def test_votes_that_are_none_are_refused(votes: np.ndarray, trusted: np.ndarray | None, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        dawid_skene(votes, 2, trusted=trusted)
