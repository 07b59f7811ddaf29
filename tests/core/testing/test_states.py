"""What a part remembers is held to the same terms whichever kind it is of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.testing import (
    check_action,
    check_credit,
    check_judge,
    check_observer,
    check_reward,
    make_experience,
)


class Remembers:
    """A part of every kind, with a state to be tried."""

    needs: frozenset[str] = frozenset()

    def __init__(self, state: Any, back: Callable[[Any], Any] = lambda state: state) -> None:
        self.state, self.back = state, back

    def score(self, rollouts: rl.Rollouts) -> list[float]:
        return [float(len(text)) for text in rollouts.completions]

    def ask(self, questions: list[rl.Question]) -> list[rl.Verdict]:
        return [rl.Verdict(outcomes=tuple(rl.Score(len(answer)) for answer in q.answers)) for q in questions]

    def act(self, sampler: rl.Sampler, prompts: list[rl.Prompt], draft: rl.Rollouts | None) -> rl.Rollouts:
        return sampler.sample(prompts, rl.Sampling(max_tokens=3))

    def assign(self, rollouts: rl.Rollouts, feedback: rl.Feedback, critic: rl.Critic) -> rl.Experience:
        return make_experience(rollouts, feedback)

    def observe(self, step: int, experience: rl.Experience) -> dict[str, float]:
        return {"answers": len(experience.rollouts)}

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = self.back(state)


@pytest.mark.parametrize("check", [check_reward, check_judge, check_action, check_credit, check_observer])
def test_a_state_is_tried_whatever_the_part(check: Callable[[Any], None]) -> None:
    check(Remembers({"seen": [1, 2], "by": {"a": 0.5}}))
    with pytest.raises(rl.CheckpointError, match=r"state\.seen is a set, which a checkpoint cannot hold") as raised:
        check(Remembers({"seen": {1}}))
    assert "  in Remembers.state_dict" in raised.value.__notes__
    with pytest.raises(rl.CheckpointError, match=r"state\.at has the key \(1, 2\), a tuple, which a checkpoint cannot"):
        check(Remembers({"at": {(1, 2): 3.0}}))
    with pytest.raises(
        rl.PluginError, match=r"Remembers\.load_state_dict does not bring back .*: state\['n'\] differs"
    ):
        check(Remembers({"n": 1}, back=lambda state: {"n": 2}))


class Counts(Remembers):
    """Counts what it is asked, and cannot be set back."""

    def score(self, rollouts: rl.Rollouts) -> list[float]:
        self.state = {"n": self.state["n"] + 1}
        return super().score(rollouts)

    def load_state_dict(self, state: Any) -> None:
        pass


def test_a_state_that_is_never_set_back_shows_once_it_has_moved() -> None:
    with pytest.raises(rl.PluginError, match=r"Counts\.load_state_dict does not bring back .*: state\['n'\] differs"):
        check_reward(Counts({"n": 0}))
