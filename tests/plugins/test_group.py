from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlaif_builtins.credits.group import Group
from rlaif_core import Abstain, Failed
from rlaif_core.protocols import NoCritic
from rlaif_core.testing import check_credit, make_feedback, make_rollouts


def advantages(credit: Group, rollouts, feedback, channel: str = "reward") -> list[float]:
    """Each answer's advantage, having made sure that all its tokens carry the same."""
    found = credit.assign(rollouts, feedback, NoCritic()).advantages[channel]
    firsts = [row[mask][0].item() for row, mask in zip(found, rollouts.mask, strict=True)]
    assert torch.equal(found, torch.tensor(firsts)[:, None].where(rollouts.mask, 0.0))
    return firsts


@pytest.mark.parametrize("options", [{}, {"scale": "none"}, {"per_source": True}, {"truncated": "drop"}])
def test_keeps_the_contract(options) -> None:
    check_credit(Group(**options))


def test_values_by_hand(drawn, told) -> None:
    rollouts = drawn("..##", ".#.#", ".###", ".#", group=[0, 0, 1, 1])
    feedback = told([1, 3, 10, 10.5])
    assert advantages(Group(), rollouts, feedback) == [-1, 1, -1, 1]
    assert advantages(Group(scale="none"), rollouts, feedback) == [-1, 1, -0.25, 0.25]


def test_std_of_the_population_or_of_a_sample(drawn, told) -> None:
    rollouts, feedback = drawn(".#", ".#", ".#", ".#"), told([0, 0, 0, 4])
    assert advantages(Group(), rollouts, feedback) == pytest.approx([-1 / 3**0.5] * 3 + [3**0.5])
    sample = advantages(Group(unbiased=True), rollouts, feedback)
    assert sample == pytest.approx([-0.5, -0.5, -0.5, 1.5])  # smaller by sqrt(G / (G - 1))
    reference = torch.tensor([0.0, 0, 0, 4])
    assert sample == pytest.approx(((reference - reference.mean()) / reference.std()).tolist())


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 1e6, 1e-30])
@pytest.mark.parametrize("options", [{}, {"unbiased": True}, {"scale": "none"}])
def test_equal_rewards_give_exactly_zero(drawn, told, value: float, options) -> None:
    rollouts = drawn(*[".#"] * 7)
    assert advantages(Group(**options), rollouts, told([value] * 7)) == [0.0] * 7


@pytest.mark.parametrize("options", [{}, {"scale": "none"}, {"per_source": True}])
@pytest.mark.parametrize("judge", [0.0, 1.0, 1e6])
def test_equal_penalties_change_nothing(judge: float, options) -> None:
    rollouts = make_rollouts([("yes",) * 3])
    said = {"judge": [judge] * 3, "kl": [-0.7] * 3}
    feedback = make_feedback(rollouts, said, weights={"kl": 0.01}, contributed={"kl"})
    assert not Group(**options).assign(rollouts, feedback, NoCritic()).advantages["reward"].any()


def test_another_groups_scores_are_no_measure(drawn, told) -> None:
    rollouts = drawn(*[".#"] * 4, group=[0, 0, 1, 1])
    assert advantages(Group(), rollouts, told([0.1, 0.25, 1e20, 1.0])) == pytest.approx([-1, 1, 1, -1])
    assert advantages(Group(scale="none"), rollouts, told([0.1, 0.25, 0.0, 1e15]))[:2] == pytest.approx([-0.075, 0.075])


def test_rounding_noise_is_no_difference(drawn, told) -> None:
    rollouts = drawn(".#", ".#", ".#")
    noisy = [0.1, 0.1 + 3e-9, 0.1 - 3e-9]
    assert advantages(Group(), rollouts, told(noisy)) == [0.0] * 3
    assert advantages(Group(), rollouts, told([0.1, 0.1001, 0.0999]))[1] == pytest.approx(1.5**0.5, rel=1e-3)


@given(
    st.lists(st.floats(-100, 100, width=16), min_size=2, max_size=6),
    st.floats(0.01, 1000),
    st.floats(-10, 10),
    st.randoms(),
)
def test_scale_shift_and_order_do_not_matter(rewards, scale, shift, random) -> None:
    rollouts = make_rollouts([["yes"] * len(rewards), ("no", "red")])
    plain = make_feedback(rollouts, {"it": [*rewards, 0.0, 1.0]})
    moved = make_feedback(rollouts, {"it": [*(scale * reward + shift for reward in rewards), 0.0, 1.0]})
    expected = advantages(Group(), rollouts, plain)
    if max(rewards) - min(rewards) > 0.1:
        assert advantages(Group(), rollouts, moved) == pytest.approx(expected, abs=1e-2, rel=1e-2)
    assert sum(expected[: len(rewards)]) == pytest.approx(0, abs=1e-4)
    order = list(range(len(rollouts)))
    random.shuffle(order)
    assert advantages(Group(), rollouts.take(order), plain.take(order)) == pytest.approx(
        [expected[row] for row in order], abs=1e-6
    )


def test_groups_stay_together_wherever_their_members_stand(drawn, told) -> None:
    rollouts = drawn(*[".#"] * 6, group=[5, 2, 5, 2, 9, 5])
    # Each reward is 100 times its group's number, so a stray member would show.
    found = advantages(Group(scale="none"), rollouts, told([500, 200, 503, 204, 900, 506]))
    assert found == [-3, -2, 0, 2, 0, 3]


@pytest.mark.parametrize("missing", [Abstain("no idea"), Failed("outage")])
def test_a_missing_reward_changes_no_baseline_and_is_not_counted(drawn, told, missing) -> None:
    rollouts = drawn("..##", ".###", "..##", ".###")
    experience = Group().assign(rollouts, told([1, missing, 3, missing]), NoCritic())
    assert experience.counted.tolist() == [True, False, True, False]
    assert experience.advantages["reward"].tolist() == [[0, 0, -1, -1], [0] * 4, [0, 0, 1, 1], [0] * 4]
    assert experience.returns["reward"].tolist() == [[0, 0, 1, 1], [0] * 4, [0, 0, 3, 3], [0] * 4]
    assert not experience.mask[1].any()


def test_single_and_lonely_answers_are_zero_and_finite(drawn, told) -> None:
    rollouts = drawn(".#", ".#", ".#", group=[0, 1, 1])
    for options in ({}, {"unbiased": True}):
        assert advantages(Group(**options), rollouts, told([5, 2, Abstain("?")])) == [0, 0, 0]


def test_answers_cut_off_can_be_dropped(drawn, told) -> None:
    rollouts = drawn(".#", ".#", ".#", finish=["stop", "length", "stop"])
    feedback = told([1, 100, 3])
    assert advantages(Group(truncated="drop"), rollouts, feedback) == [-1, 0, 1]
    assert advantages(Group(truncated="drop", per_source=True), rollouts, feedback) == [-1, 0, 1]
    experience = Group(truncated="drop").assign(rollouts, feedback, NoCritic())
    assert experience.counted.tolist() == [True, False, True]


def test_one_source_a_thousand_times_larger_silences_the_other_only_in_the_sum(drawn, told) -> None:
    rollouts = drawn(*[".#"] * 4)
    large, small = [0, 0, 1000, 1000], [0, 1, 0, 1]
    feedback = told(large=large, small=small)
    summed = advantages(Group(), rollouts, feedback)
    assert summed[1] - summed[0] == pytest.approx(0.002, abs=1e-5)
    assert advantages(Group(per_source=True), rollouts, feedback) == [-2, 0, 0, 2]
    tame = told(large=[reward / 1000 for reward in large], small=small)
    assert advantages(Group(per_source=True), rollouts, tame) == [-2, 0, 0, 2]
    weighted = told(large=large, small=small, weights={"large": 0.5, "small": -2})
    assert advantages(Group(per_source=True), rollouts, weighted) == [1.5, -2.5, 2.5, -1.5]


def test_a_source_that_is_silent_on_one_sits_out_for_its_group_only(drawn, told) -> None:
    rollouts = drawn(*[".#"] * 5, group=[0, 0, 0, 1, 1])
    feedback = told(a=[0, 2, 1, 0, 1], b=[Abstain("?"), 1, 5, 1, 0])
    for options in ({"per_source": True}, {}):
        found = advantages(Group(**options), rollouts, feedback)
        assert found == pytest.approx([-(1.5**0.5), 1.5**0.5, 0, 0, 0])


def test_every_channel_is_compared_by_itself(drawn, told) -> None:
    rollouts = drawn(".#", ".#")
    feedback = told(good=[0, 1], bad=[7, 3], channels={"bad": "cost:harm"})
    assert advantages(Group(), rollouts, feedback) == [-1, 1]
    assert advantages(Group(), rollouts, feedback, "cost:harm") == [1, -1]


@pytest.mark.parametrize("judged", [1.0, 1e6])
@pytest.mark.parametrize("per_source", [False, True])
def test_a_flat_judge_neither_blows_a_small_penalty_up_nor_swallows_it(per_source, judged):
    rollouts = make_rollouts([("yes", "no", "red")])
    said = {"judge": [judged] * 3, "kl": [-0.3, -0.1, -0.5]}
    feedback = make_feedback(rollouts, said, weights={"kl": 0.01}, contributed={"kl"})
    advantages = Group(per_source=per_source).assign(rollouts, feedback, NoCritic()).advantages["reward"]
    firsts = [float(row[mask][0]) for row, mask in zip(advantages, rollouts.mask, strict=True)]
    assert firsts == pytest.approx([0.0, 0.002, -0.002], abs=1e-7)


def test_what_is_contributed_does_not_change_the_scale_of_what_is_judged():
    rollouts = make_rollouts([("yes", "no", "red", "blue")])
    judged = [1.0, 2.0, 4.0, 9.0]
    alone = make_feedback(rollouts, {"judge": judged})
    beside = make_feedback(
        rollouts, {"judge": judged, "kl": [-50.0, -1.0, 0.0, -1.0]}, weights={"kl": 0.0}, contributed={"kl"}
    )
    assert torch.equal(
        Group().assign(rollouts, alone, NoCritic()).advantages["reward"],
        Group().assign(rollouts, beside, NoCritic()).advantages["reward"],
    )


def test_what_is_contributed_keeps_its_size_beside_large_rewards():
    rollouts = make_rollouts([("yes", "no", "red")])
    judged, kl = [1000000.1, 1000010.3, 1000020.2], [-0.3, -0.1, -0.5]
    beside = make_feedback(rollouts, {"judge": judged, "kl": kl}, weights={"kl": 0.01}, contributed={"kl"})
    alone = advantages(Group(), rollouts, make_feedback(rollouts, {"judge": judged}))
    found = advantages(Group(), rollouts, beside)
    assert [with_kl - own for with_kl, own in zip(found, alone, strict=True)] == pytest.approx(
        [0, 0.002, -0.002], abs=1e-6
    )
