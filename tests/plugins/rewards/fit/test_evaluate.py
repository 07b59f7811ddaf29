from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from rlaif_core import FeedbackError
from rlaif_rewards.fit.data import Labelled, Preferences
from rlaif_rewards.fit.evaluate import Said, auroc, baseline, by_length, judged, measured, said_of_pairs
from rlaif_rewards.reading import Shown
from rlaif_rewards.scorer import Reading


class Counting:
    """Says a text's number of "gem"s, less its number of "oaf"s, times `factor`."""

    def __init__(self, labels: int, factor: float = 1.0) -> None:
        self.labels, self.factor, self.problem = ["x"] * labels, factor, "exclusive" if labels > 1 else "independent"

    def read(self, answers: tuple[Shown, ...]) -> Reading:
        found = [self.factor * (shown.answer.count("gem") - shown.answer.count("oaf")) for shown in answers]
        column = torch.tensor(found)[:, None]
        logits = torch.cat([torch.zeros_like(column)] * (len(self.labels) - 1) + [column], 1)
        return Reading(logits, ("",) * len(answers))


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=20))
def test_auroc_is_that_of_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    said, true = np.array([p for p, _ in rows]), np.array([float(t) for _, t in rows])
    found = auroc(said, true)
    if len(set(true)) < 2:
        assert found is None
    else:
        assert found == pytest.approx(roc_auc_score(true, said))


def test_a_perfect_classifier(toy: Labelled) -> None:
    found = measured(judged(Counting(2, 9.0), toy))
    assert (found["auroc"], found["accuracy"]) == (1, 1)
    assert found["brier"] < 1e-6
    assert found["auroc_interval"] == (1, 1)


def test_figures_are_about_the_positive_label(toy: Labelled) -> None:
    said = judged(Counting(2), toy, positive=0)
    assert said.true.tolist() == toy.targets[:, 0].tolist()
    assert measured(said)["auroc"] == 1
    assert measured(judged(Counting(2, -1.0), toy, positive=0))["auroc"] == 0


def test_of_several_labels_each_is_held_against_the_rest() -> None:
    chances = np.array([[0.7, 0.2, 0.1], [0.2, 0.6, 0.2], [0.3, 0.5, 0.2]])
    found = measured(Said(chances, np.eye(3)[[0, 1, 2]], ("a", "b", "c")))
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["auroc"] == pytest.approx((1 + 1 + 0.75) / 3)


def test_pairs_count_in_both_orders_and_ties_are_left_out(pairs: Preferences) -> None:
    five = pairs.take(range(5))
    targets = np.array([[1.0, 0, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [0.2, 0, 0.8]])
    said = said_of_pairs(np.array([2.0, -1.0, 1.0, 5.0, 0.0]), replace(five, targets=targets))
    assert said.chances[:5] + said.chances[5:] == pytest.approx(1)
    found = measured(said)
    assert found["accuracy"] == pytest.approx((1 + 0 + 0 + 0.5) / 4)


def test_an_indifferent_reward_model_is_at_chance_everywhere(pairs: Preferences) -> None:
    found = measured(judged(Counting(1, 0.0), pairs))
    assert (found["accuracy"], found["auroc"], found["ece"]) == (0.5, 0.5, 0)
    assert found["log_loss"] == pytest.approx(np.log(2))


def test_the_baseline_learns_words(toy: Labelled, pairs: Preferences) -> None:
    halves = [range(60), range(60, 120)]
    assert measured(baseline(*(toy.take(half) for half in halves)))["accuracy"] > 0.95
    assert measured(baseline(*(pairs.take(half) for half in halves)))["accuracy"] > 0.95
    turned = replace(pairs, targets=pairs.targets[:, ::-1])
    assert measured(baseline(turned.take(halves[0]), pairs.take(halves[1])))["accuracy"] < 0.05


def test_length_alone_is_learnt_too(pairs: Preferences) -> None:
    longer = replace(pairs, chosen=tuple(replace(s, answer=s.answer + " and more of it") for s in pairs.chosen))
    assert measured(by_length(longer.take(range(60)), longer.take(range(60, 120))))["accuracy"] == 1


def test_a_model_that_computes_no_number_is_no_model(toy: Labelled) -> None:
    with pytest.raises(FeedbackError, match="computes no number for some texts"):
        judged(Counting(2, float("nan")), toy)


def test_of_gaps_of_one_size_auroc_is_accuracy(pairs: Preferences) -> None:
    gaps = 0.3 * np.where(np.arange(len(pairs)) % 5 < 3, 1.0, -1.0)
    found = measured(said_of_pairs(gaps, pairs))
    assert found["accuracy"] == pytest.approx(0.6)
    assert found["auroc"] == pytest.approx(0.6)
