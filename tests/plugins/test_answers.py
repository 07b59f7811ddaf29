from __future__ import annotations

import pytest
import torch

from rlaif_builtins.credits.answers import last_chosen, over, siblings, spread, token_rewards, totals
from rlaif_core import Abstain, FeedbackError, PluginError


def test_last_chosen_is_the_action_s_own_even_when_more_follows(drawn) -> None:
    rollouts = drawn("..###", ".#..#", ".##..", ". # .", ".....")
    assert last_chosen(rollouts.mask).tolist() == [
        [False, False, False, False, True],
        [False, False, False, False, True],
        [False, False, True, False, False],
        [False, False, True, False, False],
        [False] * 5,
    ]


def test_groups_are_known_wherever_their_members_stand(drawn) -> None:
    rollouts = drawn(".#", ".#", ".#", ".#", group=[7, -1, 7, 3])
    group = siblings(rollouts)
    assert group.tolist() == [2, 0, 2, 1]
    assert over(torch.tensor([1.0, 2.0, 4.0, 8.0]), group).tolist() == [5, 2, 5, 8]


def test_spread_is_zero_elsewhere_and_in_float32() -> None:
    where = torch.tensor([[False, True, True], [False, False, True]])
    put = spread(torch.tensor([2.0, -1.0], dtype=torch.float64), where)
    assert put.dtype == torch.float32
    assert put.tolist() == [[0, 2, 2], [0, 0, -1]]


def test_totals_leave_out_the_silent_and_on_request_the_cut_off(drawn, told) -> None:
    rollouts = drawn(".#", ".#", ".#", finish=["stop", "stop", "length"])
    feedback = told([1, Abstain("?"), 3])
    values, counted = totals(rollouts, feedback, "score")
    assert values["reward"].tolist() == [1, 0, 3]
    assert counted.tolist() == [True, False, True]
    values, counted = totals(rollouts, feedback, "drop")
    assert values["reward"].tolist() == [1, 0, 0]
    assert counted.tolist() == [True, False, False]


def test_reward_stands_at_the_last_chosen_token(drawn, told) -> None:
    rollouts = drawn("..##.", ".#.#", " .##")
    rewards = token_rewards(rollouts, told([1, 2, 3]), "reward", torch.tensor([1.0, 2.0, 3.0]))
    assert rewards.tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 2, 0], [0, 0, 0, 3, 0]]


def test_token_scores_stand_where_they_are_and_the_rest_at_the_end(drawn, told) -> None:
    rollouts = drawn(".###", ".#.#")
    tokens = torch.tensor([[9, 1, 2, 3.0], [9, 4, float("nan"), 5]])  # what stands off the mask is never looked at
    feedback = told(fine=[6, 9], plain=[10, 20], weights={"fine": 0.5}, token_scores={"fine": tokens})
    values, _ = totals(rollouts, feedback, "score")
    rewards = token_rewards(rollouts, feedback, "reward", values["reward"])
    assert rewards.tolist() == [[0, 0.5, 1, 11.5], [0, 2, 0, 22.5]]
    assert rewards.sum(1).tolist() == values["reward"].tolist()
    unfinished = torch.tensor([False, True])
    withheld = token_rewards(rollouts, feedback, "reward", values["reward"], unfinished)
    assert withheld.tolist() == [[0, 0.5, 1, 11.5], [0, 2, 0, 2.5]]


def test_token_scores_of_an_answer_without_a_score_do_not_count(drawn, told) -> None:
    tokens = torch.tensor([[0, 1.0], [0, float("nan")]])
    feedback = told(fine=[1, Abstain("?")], plain=[0, 7], token_scores={"fine": tokens})
    rewards = token_rewards(drawn(".#", ".#", group=[0, 1]), feedback, "reward", torch.tensor([1.0, 7.0]))
    assert rewards.tolist() == [[0, 1], [0, 7]]


def test_broken_token_scores_are_named(drawn, told) -> None:
    rollouts = drawn(".##")
    total = torch.tensor([1.0])
    with pytest.raises(FeedbackError, match="source 'it' gave token scores that are not finite"):
        token_rewards(rollouts, told([1], token_scores={"it": torch.tensor([[0, 1, torch.inf]])}), "reward", total)
    with pytest.raises(PluginError, match=r"source 'it' gave token scores \(1, 2\) for tokens \(1, 3\)"):
        token_rewards(rollouts, told([1], token_scores={"it": torch.zeros(1, 2)}), "reward", total)


def test_token_scores_of_a_source_that_a_group_cannot_compare_do_not_count(drawn, told) -> None:
    tokens = torch.tensor([[0, 5, 0, 0.0], [0, 0, 0, 0]])
    feedback = told(fine=[5, Abstain("?")], plain=[1, 2], token_scores={"fine": tokens})
    rollouts = drawn(".###", ".###", group=[0, 0])
    values, _ = totals(rollouts, feedback, "score")
    rewards = token_rewards(rollouts, feedback, "reward", values["reward"])
    assert rewards.tolist() == [[0, 0, 0, 1], [0, 0, 0, 2]]
