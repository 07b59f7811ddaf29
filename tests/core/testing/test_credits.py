from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

import rlaif_core as rl
from rlaif_core.testing import check_credit, make_experience


def credit(assign: Callable[..., Any], needs: frozenset[str] = frozenset()) -> Any:
    """A credit with that `assign`."""
    return type("Credit", (), {"assign": staticmethod(assign), "needs": needs})()


def plain(rollouts: rl.Rollouts, feedback: rl.Feedback, critic: rl.Critic) -> rl.Experience:
    return make_experience(rollouts, feedback)


def test_a_good_credit_passes() -> None:
    check_credit(credit(plain))


def changed(change: Callable[[rl.Experience], rl.Experience]) -> Callable[..., rl.Experience]:
    return lambda rollouts, feedback, critic: change(make_experience(rollouts, feedback))


def advantages(change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[..., rl.Experience]:
    """`plain` with every advantage changed by `change(advantage, mask)`."""

    def apply(experience: rl.Experience) -> rl.Experience:
        mask = experience.rollouts.mask
        return replace(experience, advantages={c: change(a, mask) for c, a in experience.advantages.items()})

    return changed(apply)


def write_into_logp(rollouts: rl.Rollouts, feedback: rl.Feedback, critic: rl.Critic) -> rl.Experience:
    rollouts.logp.mul_(0)
    return make_experience(rollouts, feedback)


def everybody(experience: rl.Experience) -> rl.Experience:
    return replace(experience, counted=torch.ones(len(experience.rollouts), dtype=torch.bool))


BAD_CREDITS = {
    "no experience": (lambda r, f, c: r, r"Credit\.assign returned a Rollouts; return an Experience"),
    "other rollouts": (
        changed(lambda e: replace(e, rollouts=replace(e.rollouts))),
        "must pass on the rollouts and feedback",
    ),
    "no channel": (changed(lambda e: replace(e, advantages={})), "gave no advantages for channel 'reward'"),
    "gradients": (advantages(lambda a, m: a.clone().requires_grad_()), "carry gradients; detach them"),
    "chance": (advantages(lambda a, m: torch.rand(a.shape) * m), "differently when asked twice about"),
    "order": (
        advantages(lambda a, m: torch.arange(len(a))[:, None] * (a != 0).float()),
        "another advantage when the rows come in reverse order",
    ),
    "padding": (advantages(lambda a, m: a * m.shape[1]), "another advantage when the batch is padded wider"),
    "writes": (write_into_logp, r"changed its input rollouts\.logp in place"),
    "everybody": (changed(everybody), "counts an answer that nobody scored .*one abstention.*; leave it out"),
    "off-mask": (advantages(lambda a, m: a + 1), "must be 0 wherever the rollouts' mask is False"),
}


@pytest.mark.parametrize("defect", BAD_CREDITS)
def test_each_defect_of_a_credit_is_told_by_its_own_sentence(defect: str) -> None:
    assign, sentence = BAD_CREDITS[defect]
    with pytest.raises(rl.PluginError, match=sentence):
        check_credit(credit(assign))


def test_a_credit_gets_the_critic_that_it_needs() -> None:
    with pytest.raises(rl.PluginError, match=r"needs \['attention'\] of the critic; call check_credit with a critic"):
        check_credit(credit(plain, frozenset({"attention"})))

    def from_values(rollouts: rl.Rollouts, feedback: rl.Feedback, critic: rl.Critic) -> rl.Experience:
        experience = make_experience(rollouts, feedback)
        values = critic.values(rollouts) * experience.mask
        return replace(experience, advantages=dict.fromkeys(experience.advantages, values))

    check_credit(credit(from_values, frozenset({"values"})))


def test_what_a_credit_raises_says_on_what() -> None:
    def needs_scores(rollouts: rl.Rollouts, feedback: rl.Feedback, critic: rl.Critic) -> rl.Experience:
        assert all(isinstance(outcome, rl.Score) for said in feedback.outcomes.values() for outcome in said)
        return make_experience(rollouts, feedback)

    with pytest.raises(AssertionError) as caught:
        check_credit(credit(needs_scores))
    assert "Credit.assign on an ordinary batch with one abstention" in caught.value.__notes__[0]
