from __future__ import annotations

import pytest
import torch

from rlaif_builtins.credits.leave_one_out import LeaveOneOut
from rlaif_core import Abstain
from rlaif_core.protocols import NoCritic
from rlaif_core.testing import check_credit, make_feedback, make_rollouts


def assigned(rollouts, feedback, **options):
    return LeaveOneOut(**options).assign(rollouts, feedback, NoCritic())


def ends(experience, channel: str = "reward") -> list[float]:
    """The advantage at each row's last column."""
    return experience.advantages[channel][:, -1].tolist()


@pytest.mark.parametrize("options", [{}, {"truncated": "drop"}])
def test_keeps_the_contract(options) -> None:
    check_credit(LeaveOneOut(**options))


def test_reward_less_the_mean_of_the_others(drawn, told) -> None:
    rollouts = drawn("..##", "  .#", ".#.#", "..##", " .##", group=[4, 8, 4, 8, 4])
    experience = assigned(rollouts, told([1, 10, 2, 20, 6]))
    assert ends(experience) == [1 - 4, 10 - 20, 2 - 3.5, 20 - 10, 6 - 1.5]
    assert torch.equal(experience.advantages["reward"] != 0, rollouts.mask)
    assert experience.counted.all()


def test_it_is_the_mean_baseline_made_larger_by_n_over_n_less_one(drawn, told) -> None:
    rewards = torch.tensor([0.3, -1.7, 2.9, 0.4])
    expected = (rewards - rewards.mean()) * 4 / 3
    assert ends(assigned(drawn(*[".#"] * 4), told(rewards.tolist()))) == pytest.approx(expected.tolist())


@pytest.mark.parametrize("value", [0.1, -3.3, 1e6])
def test_equal_rewards_give_exactly_zero(drawn, told, value: float) -> None:
    assert ends(assigned(drawn(*[".#"] * 7), told([value] * 7))) == [0.0] * 7


def test_small_differences_beside_large_rewards_keep_their_size(drawn, told) -> None:
    feedback = told(judge=[1e6] * 3, kl=[-0.3, -0.1, -0.5], weights={"kl": 0.01})
    assert ends(assigned(drawn(*[".#"] * 3), feedback)) == pytest.approx([0, 0.003, -0.003], abs=1e-7)
    alike = told(judge=[1e6] * 3, kl=[-0.3] * 3, weights={"kl": 0.01})
    assert ends(assigned(drawn(*[".#"] * 3), alike)) == [0, 0, 0]


def test_a_group_with_fewer_than_two_counted_answers_is_left_out(drawn, told) -> None:
    rollouts = drawn(*[".#"] * 5, group=[0, 1, 1, 2, 2])
    experience = assigned(rollouts, told([9, 5, Abstain("?"), 1, 2]))
    assert experience.counted.tolist() == [False, False, False, True, True]
    assert ends(experience) == [0, 0, 0, -1, 1]
    assert experience.returns["reward"][:, -1].tolist() == [0, 0, 0, 1, 2]


def test_missing_rewards_change_no_baseline(drawn, told) -> None:
    assert ends(assigned(drawn(*[".#"] * 3), told([1, Abstain("?"), 3]))) == [-2, 0, 2]


def test_answers_cut_off_can_be_dropped(drawn, told) -> None:
    rollouts = drawn(".#", ".#", ".#", finish=["stop", "length", "stop"])
    assert ends(assigned(rollouts, told([1, 100, 3]), truncated="drop")) == [-2, 0, 2]
    assert ends(assigned(rollouts, told([1, 100, 3]))) == [1 - 51.5, 98, 3 - 50.5]


def test_every_channel_is_compared_by_itself(drawn, told) -> None:
    experience = assigned(drawn(".#", ".#"), told(a=[0, 1], b=[7, 3], channels={"b": "cost:harm"}))
    assert ends(experience) == [-1, 1]
    assert ends(experience, "cost:harm") == [4, -4]


def test_the_baseline_leaves_the_gradient_unbiased(drawn, told) -> None:
    """Over all pairs of answers from a two-armed bandit, the mean gradient is that of the expected reward."""
    logits = torch.tensor([0.4, -0.2], requires_grad=True)
    rewards = torch.tensor([1.0, 3.0])
    chances = logits.softmax(0)
    (exact,) = torch.autograd.grad((chances * rewards).sum(), logits, retain_graph=True)
    rollouts = drawn(".#", ".#")
    total = torch.zeros(2)
    for one in (0, 1):
        for other in (0, 1):
            advantage = ends(assigned(rollouts, told([rewards[one].item(), rewards[other].item()])))
            score = (advantage[0] * chances[one].log() + advantage[1] * chances[other].log()) / 2
            (gradient,) = torch.autograd.grad(score, logits, retain_graph=True)
            total += (chances[one] * chances[other]).detach() * gradient
    torch.testing.assert_close(total, exact)


def test_sums_that_differ_by_rounding_alone_give_exactly_zero() -> None:
    rollouts = make_rollouts([("yes", "no")])
    feedback = make_feedback(rollouts, {"a": [0.1, 0.3], "b": [0.2, 0.0]})
    assert not LeaveOneOut().assign(rollouts, feedback, NoCritic()).advantages["reward"].any()
