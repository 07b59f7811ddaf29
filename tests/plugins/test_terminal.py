from __future__ import annotations

import pytest
import torch

from rlaif_builtins.credits.terminal import Terminal
from rlaif_core import Abstain, ConfigError
from rlaif_core.protocols import NoCritic
from rlaif_core.testing import check_credit


def assigned(rollouts, feedback, **options):
    return Terminal(**options).assign(rollouts, feedback, NoCritic())


@pytest.mark.parametrize("options", [{}, {"gamma": 0.9, "baseline": "mean", "whiten": True}, {"truncated": "drop"}])
def test_keeps_the_contract(options) -> None:
    check_credit(Terminal(**options))


def test_every_chosen_token_gets_the_reward_undiscounted(drawn, told) -> None:
    rollouts = drawn("..##.", ".#.##", " .#")
    experience = assigned(rollouts, told([1, 2, -3]))
    expected = [[0, 0, 1, 1, 0], [0, 2, 0, 2, 2], [0, 0, -3, 0, 0]]
    assert experience.advantages["reward"].tolist() == expected
    assert experience.returns["reward"].tolist() == expected


def test_discount_counts_chosen_tokens_only(drawn, told) -> None:
    experience = assigned(drawn(".#.##", "..#.."), told([8, 4]), gamma=0.5)
    assert experience.advantages["reward"].tolist() == [[0, 2, 0, 4, 8], [0, 0, 4, 0, 0]]
    none = assigned(drawn(".#.##"), told([8]), gamma=0.0)
    assert none.advantages["reward"].tolist() == [[0, 0, 0, 0, 8]]


def test_token_scores_count_from_where_they_stand(drawn, told) -> None:
    tokens = torch.tensor([[0, 1.0, 0, 2, 4]])
    experience = assigned(drawn(".#.##"), told(fine=[7], plain=[10], token_scores={"fine": tokens}))
    assert experience.returns["reward"].tolist() == [[0, 17, 0, 16, 14]]


def test_baseline_is_the_mean_of_the_answers_that_count(drawn, told) -> None:
    rollouts = drawn("..##", "..##", ".###", group=[0, 1, 2])
    experience = assigned(rollouts, told([1, 5, Abstain("?")]), baseline="mean")
    assert experience.advantages["reward"].tolist() == [[0, 0, -2, -2], [0, 0, 2, 2], [0] * 4]
    assert experience.returns["reward"].tolist() == [[0, 0, 1, 1], [0, 0, 5, 5], [0] * 4]
    assert experience.counted.tolist() == [True, True, False]


def test_whitening_looks_at_counted_tokens_only_and_leaves_the_returns(drawn, told) -> None:
    rollouts = drawn("..##", ".###", "..##", group=[0, 1, 2])
    experience = assigned(rollouts, told([1, Abstain("?"), 3]), whiten=True)
    expected = torch.tensor([[0, 0, -1.0, -1], [0] * 4, [0, 0, 1, 1]])
    torch.testing.assert_close(experience.advantages["reward"], expected)
    assert experience.returns["reward"].tolist() == [[0, 0, 1, 1], [0] * 4, [0, 0, 3, 3]]


def test_whitening_one_token_or_none_gives_zero(drawn, told) -> None:
    assert not assigned(drawn(".#"), told([3]), whiten=True).advantages["reward"].any()
    assert not assigned(drawn(".#"), told([Abstain("?")]), whiten=True).advantages["reward"].any()


def test_padding_and_order_change_nothing(drawn, told) -> None:
    plain = assigned(drawn(".##", ".#"), told([1, 2]), gamma=0.5, baseline="mean", whiten=True)
    wider = assigned(drawn("   .#   ", "  .##  "), told([2, 1]), gamma=0.5, baseline="mean", whiten=True)
    chosen = plain.advantages["reward"][plain.mask]
    torch.testing.assert_close(wider.advantages["reward"][wider.mask], chosen[[2, 0, 1]])


def test_answers_cut_off_can_be_dropped(drawn, told) -> None:
    experience = assigned(drawn(".#", ".#", finish=["stop", "length"]), told([1, 9]), baseline="mean", truncated="drop")
    assert experience.counted.tolist() == [True, False]
    assert experience.advantages["reward"].tolist() == [[0, 0], [0, 0]]
    assert experience.returns["reward"].tolist() == [[0, 1], [0, 0]]


def test_every_channel_has_its_own_returns(drawn, told) -> None:
    experience = assigned(drawn(".#"), told(a=[1], b=[5], channels={"b": "cost:harm"}))
    last = {channel: its[0, 1].item() for channel, its in experience.advantages.items()}
    assert last == {"reward": 1, "cost:harm": 5}


@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan")])
def test_discount_out_of_range_is_refused(gamma: float) -> None:
    with pytest.raises(ConfigError, match=r"gamma is .*, but must be from 0 to 1"):
        Terminal(gamma=gamma)
