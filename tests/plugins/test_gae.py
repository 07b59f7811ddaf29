from __future__ import annotations

import pytest
import torch

from rlaif_builtins.credits.gae import Gae
from rlaif_core import Abstain, ConfigError, Critic, TrainingError
from rlaif_core.protocols import NoCritic
from rlaif_core.testing import check_credit


class Known(Critic):
    """A critic whose values are given."""

    gives = frozenset({"values"})

    def __init__(self, values: torch.Tensor, after: torch.Tensor | None = None) -> None:
        self._values, self._after = values, after

    def values(self, rollouts) -> torch.Tensor:
        return self._values.where(rollouts.mask, 0.0)

    def values_after(self, rollouts) -> torch.Tensor:
        assert self._after is not None, "nobody should ask what follows a finished answer"
        return self._after


def assigned(rollouts, feedback, values=None, after=None, **options):
    values = torch.zeros(rollouts.mask.shape) if values is None else torch.tensor(values)
    critic = Known(values, None if after is None else torch.tensor(after))
    return Gae(**{"whiten": False, **options}).assign(rollouts, feedback, critic)


@pytest.mark.parametrize("truncated", ["score", "bootstrap", "drop"])
def test_keeps_the_contract(truncated: str) -> None:
    check_credit(Gae(truncated=truncated))


def test_reward_at_the_last_chosen_token_reaches_every_one_when_nothing_is_expected(drawn, told) -> None:
    experience = assigned(drawn(".##..", ".#.#.", "..###"), told([1, 1, 1]), lam=1.0)
    assert torch.equal(experience.advantages["reward"], experience.mask.float())


def test_values_by_hand(drawn, told) -> None:
    # gamma = 1, lam = .5: delta = (V2 - V1, V3 - V2, R - V3) = (1, -3, 4)
    experience = assigned(drawn(".###"), told([5]), [[9, 3, 4, 1.0]], lam=0.5)
    assert experience.advantages["reward"].tolist() == [[0, 1 - 1.5 + 1, -3 + 2, 4]]
    assert experience.returns["reward"].tolist() == [[0, 3.5, 3, 5]]


def test_holes_in_the_mask_take_no_time(drawn, told) -> None:
    holes = assigned(drawn(".#..##"), told([5]), [[9, 3, 8, 8, 4, 1.0]], gamma=0.9, lam=0.5)
    dense = assigned(drawn(".###"), told([5]), [[9, 3, 4, 1.0]], gamma=0.9, lam=0.5)
    for kind in ("advantages", "returns"):
        found, expected = getattr(holes, kind)["reward"], getattr(dense, kind)["reward"]
        torch.testing.assert_close(found[holes.mask], expected[dense.mask])


def test_token_scores_count_where_they_stand(drawn, told) -> None:
    tokens = torch.tensor([[0, 1.0, 2]])
    experience = assigned(drawn(".##"), told(fine=[3], plain=[10], token_scores={"fine": tokens}), lam=1.0)
    assert experience.returns["reward"].tolist() == [[0, 13, 12]]


def test_constant_stream_cut_off_is_worth_what_follows_it(drawn, told) -> None:
    """Reward 1 a token for ever, discounted: V = 1 / (1 - gamma) everywhere, and no token is better than expected."""
    gamma, worth = 0.8, 5.0
    rollouts = drawn(".####", finish=["length"])
    feedback = told([4], token_scores={"it": torch.tensor([[0, 1.0, 1, 1, 1]])})
    values = [[0.0, worth, worth, worth, worth]]
    continued = assigned(rollouts, feedback, values, [worth], gamma=gamma, truncated="bootstrap")
    torch.testing.assert_close(continued.advantages["reward"], torch.zeros(1, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(continued.returns["reward"][0, 1:], torch.full((4,), worth))
    over = assigned(rollouts, feedback, values, [worth], gamma=gamma, truncated="score")
    assert over.advantages["reward"][0, -1].item() == pytest.approx(-gamma * worth)


def test_what_follows_takes_the_place_of_the_score_of_half_an_answer(drawn, told) -> None:
    rollouts = drawn(".##", ".##", finish=["length", "stop"])
    feedback = told([7, 7])
    experience = assigned(rollouts, feedback, None, [3.0, float(99)], lam=1.0, truncated="bootstrap")
    assert experience.returns["reward"].tolist() == [[0, 3, 3], [0, 7, 7]]
    plain = assigned(rollouts, feedback, None, None, lam=1.0)
    assert plain.returns["reward"].tolist() == [[0, 7, 7], [0, 7, 7]]


def test_answers_cut_off_can_be_dropped(drawn, told) -> None:
    experience = assigned(drawn(".##", ".##", finish=["length", "stop"]), told([7, 7]), truncated="drop")
    assert experience.counted.tolist() == [False, True]
    assert not experience.advantages["reward"][0].any()
    assert not experience.returns["reward"][0].any()


def test_whitening_comes_after_the_returns_and_sees_counted_tokens_only(drawn, told) -> None:
    rollouts = drawn(".##", ".##", ".##", group=[0, 1, 2])
    feedback = told([1, Abstain("?"), 3])
    values = [[0.0, 0, 0], [0, 1e6, -1e6], [0, 0, 0]]
    white = assigned(rollouts, feedback, values, lam=1.0, whiten=True)
    expected = torch.tensor([[0.0, -1, -1], [0, 0, 0], [0, 1, 1]])
    torch.testing.assert_close(white.advantages["reward"], expected)
    assert white.returns["reward"].tolist() == [[0, 1, 1], [0, 0, 0], [0, 3, 3]]
    assert white.counted.tolist() == [True, False, True]


def test_whitening_one_token_gives_zero(drawn, told) -> None:
    assert not assigned(drawn(".#"), told([3]), whiten=True).advantages["reward"].any()


def test_padding_and_order_change_nothing(drawn, told) -> None:
    plain = assigned(drawn(".##", ".#"), told([1, 2]), [[0.0, 0.5, 0.25], [0, 1, 0]], whiten=True)
    values = [[0.0, 0, 0, 0, 1, 0, 0], [0, 0, 0, 0.5, 0.25, 0, 0]]
    wider = assigned(drawn("   .#  ", "  .##  "), told([2, 1]), values, whiten=True)
    chosen = plain.advantages["reward"][plain.mask]
    torch.testing.assert_close(wider.advantages["reward"][wider.mask], chosen[[2, 0, 1]])


def test_costs_have_no_critic_and_get_their_returns_less_the_mean(drawn, told) -> None:
    rollouts = drawn(".##", "..#")
    feedback = told(good=[1, 1], bad=[2, 6], channels={"bad": "cost:harm"})
    experience = assigned(rollouts, feedback, [[0.0, 0.5, 0.5], [0, 0, 0.5]])
    assert experience.advantages["cost:harm"].tolist() == [[0, -2, -2], [0, 0, 2]]
    assert experience.returns["cost:harm"].tolist() == [[0, 2, 2], [0, 0, 6]]


def test_the_mean_cost_is_of_the_answers_that_count(drawn, told) -> None:
    rollouts = drawn(".#", ".#", ".#", group=[0, 1, 2])
    feedback = told(good=[1, 1, 1], bad=[2, 6, Abstain("?")], channels={"bad": "cost:harm"})
    experience = assigned(rollouts, feedback)
    assert experience.advantages["cost:harm"].tolist() == [[0, -2], [0, 2], [0, 0]]


def test_half_precision_values_are_widened(drawn, told) -> None:
    rollouts = drawn(".##")
    experience = Gae(whiten=False).assign(rollouts, told([1]), Known(torch.zeros(1, 3, dtype=torch.bfloat16)))
    assert experience.advantages["reward"].dtype == torch.float32


def test_a_critic_that_diverged_or_is_missing_is_named(drawn, told) -> None:
    rollouts = drawn(".##", finish=["length"])
    with pytest.raises(TrainingError, match=r"critic.values is not finite: the value head has diverged"):
        assigned(rollouts, told([1]), [[0, 1.0, float("nan")]])
    with pytest.raises(TrainingError, match=r"critic.values_after is not finite"):
        assigned(rollouts, told([1]), None, [float("inf")], truncated="bootstrap")
    with pytest.raises(ConfigError, match="use an optimiser with a value head"):
        Gae().assign(rollouts, told([1]), NoCritic())
    assert Gae.needs == {"values"}


@pytest.mark.parametrize("options", [{"gamma": 1.5}, {"lam": -0.1}, {"lam": float("nan")}])
def test_factors_out_of_range_are_refused(options) -> None:
    with pytest.raises(ConfigError, match="but must be from 0 to 1"):
        Gae(**options)
