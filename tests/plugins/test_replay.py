from __future__ import annotations

import pytest
import torch

from rlaif_builtins.actions.replay import Replay
from rlaif_core import Action, ConfigError, DataError, Prompt
from rlaif_core.testing import FakePolicy, check_action


def test_takes_the_recorded_answers_with_the_policy_s_own_log_probs() -> None:
    policy = FakePolicy()
    prompts = [
        Prompt(id="a", text="is it", meta={"chosen": "yes please", "rejected": "no"}),
        Prompt(id="b", text="or not", meta={"chosen": "red", "rejected": "blue"}),
    ]
    replay = Replay()
    check_action(replay, prompts=prompts)
    rollouts = replay.act(policy.sampler(seed=0, step=0, group=8), prompts, None)
    assert isinstance(replay, Action)
    assert rollouts.completions == ("yes please", "no", "red", "blue")
    assert rollouts.group.tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(rollouts.logp, policy.logprobs(rollouts).detach())


def test_any_number_of_answers_to_a_prompt() -> None:
    sampler = FakePolicy().sampler(seed=0, step=0, group=2)
    answers = {"a": ["yes"], "b": ["no", "red", "no"]}
    prompts = [
        Prompt(id=name, text="is it", meta={"answers": its, "scores": [1] * len(its)}) for name, its in answers.items()
    ]
    rollouts = Replay().act(sampler, prompts, None)
    assert rollouts.group.tolist() == [0, 1, 1, 1]


def test_rows_without_answers_are_named() -> None:
    sampler = FakePolicy().sampler(seed=0, step=0, group=2)
    with pytest.raises(DataError, match="prompt 'a': its row records no answers"):
        Replay().act(sampler, [Prompt(id="a", text="is it")], None)


def test_only_as_the_first_action() -> None:
    sampler = FakePolicy().sampler(seed=0, step=0, group=2)
    prompts = [Prompt(id="a", text="is it", meta={"chosen": "yes", "rejected": "no"})]
    draft = Replay().act(sampler, prompts, None)
    with pytest.raises(ConfigError, match=r"put it first in \[\[actions\]\]"):
        Replay().act(sampler, prompts, draft)
