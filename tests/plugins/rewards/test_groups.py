from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rlaif_core.testing import make_rollouts
from rlaif_rewards.groups import chance_free, commonness, grouped, last_turn_logp, replied


def test_rows_by_group_in_the_order_of_their_first() -> None:
    rollouts = make_rollouts([("yes", "no"), "maybe"]).take([2, 1, 0])
    assert grouped(rollouts) == [[0], [1, 2]]
    assert replied(rollouts, [1, 2]) == ["no", "yes"]


def test_how_common_words_are_among_the_other_prompts() -> None:
    rollouts = make_rollouts([("Yes", "no", "no"), ("yes", "yes"), "red"])
    assert commonness(rollouts) == [0.5, 0, 0, 0.5, 0.5, 0]
    assert commonness(make_rollouts([("yes", "yes")])) == [0, 0]


def test_log_probs_of_the_last_turn_alone(drawn) -> None:
    rollouts = drawn("..##.###", "..#     ")
    assert last_turn_logp(rollouts, mean=False) == [-3.0, -1.0]
    assert last_turn_logp(rollouts, mean=True) == [-1.0, -1.0]


def test_a_sum_of_log_probs_is_that_of_the_tokens() -> None:
    rollouts = make_rollouts([("yes it is", "no")])
    assert last_turn_logp(rollouts, mean=False) == pytest.approx(rollouts.logp.sum(1).tolist(), rel=1e-5)


def test_drawn_without_chance() -> None:
    rollouts = make_rollouts([("yes", "no")])
    assert not chance_free(rollouts, [0, 1])
    certain = replace(rollouts, logp=torch.zeros_like(rollouts.logp))
    assert chance_free(certain, [0, 1])
    assert not chance_free(replace(certain, recorded=True), [0, 1])  # of those the log-probs say nothing
