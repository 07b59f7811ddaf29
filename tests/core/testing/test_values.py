from __future__ import annotations

import pytest
import torch

import rlaif_core as rl
from rlaif_core.testing import FakePolicy, make_experience, make_feedback, make_rollouts
from rlaif_core.testing.values import awkward_feedback, awkward_rollouts, left_padded, wider


def test_rollouts_hold_the_written_answers_in_their_groups() -> None:
    rollouts = make_rollouts([("yes", "no"), "maybe"], prompts=["is it", "red"], meta={"answer": "no"})
    assert rollouts.completions == ("yes", "no", "maybe")
    assert rollouts.group.tolist() == [0, 0, 1]
    assert [prompt.text for prompt in rollouts.prompts] == ["is it", "is it", "red"]
    assert rollouts.prompts[2].meta["answer"] == "no"


def test_prompts_and_groups_must_agree() -> None:
    with pytest.raises(rl.PluginError, match="got 1 prompts for 2 groups"):
        make_rollouts(["yes", "no"], prompts=["is it"])


def test_feedback_tells_siblings_apart_unless_told_what_was_said() -> None:
    rollouts = make_rollouts()
    values, counted = make_feedback(rollouts).totals(rollouts.group)
    assert len({values[0].item(), values[1].item()}) == 2
    assert counted.all()
    said = make_feedback(rollouts, {"taste": [1, 2, 3, rl.Abstain("none")]}, weights={"taste": 2.0})
    assert said.totals(rollouts.group)[0].tolist() == [2, 4, 6, 0]


def test_experience_compares_siblings_and_leaves_out_what_nobody_scored() -> None:
    rollouts = make_rollouts()
    feedback = make_feedback(rollouts, {"taste": [1.0, 3.0, 5.0, rl.Abstain("none")]})
    experience = make_experience(rollouts, feedback)
    last = experience.advantages["reward"].gather(1, rollouts.mask.long().argmax(1, keepdim=True))[:, 0]
    assert last.tolist() == [-1, 1, 0, 0]
    assert experience.mask.any(1).tolist() == [True, True, True, False]
    assert experience.returns["reward"].amax(1).tolist() == [1, 3, 5, 0]


def test_awkward_batches_are_what_their_names_say() -> None:
    batches = awkward_rollouts({"answer": "yes"})
    assert len(batches["a single answer"]) == 1
    assert {*batches["empty and blank answers"].completions} == {"", " ", "\n", "yes"}
    assert batches["groups of different sizes"].group.bincount().tolist() == [3, 1]
    assert batches["a chat prompt"].prompts[0].messages[0]["role"] == "system"
    assert set(batches["answers cut off by the length limit"].finish) == {"length"}
    left = batches["left-padded rows"]
    assert left.attend[:, -1].all()
    assert not left.attend[:, 0].all()
    assert all(prompt.meta["answer"] == "yes" for rollouts in batches.values() for prompt in rollouts.prompts)


def test_where_the_padding_is_changes_no_log_prob() -> None:
    policy, right = FakePolicy(), make_rollouts()
    left = left_padded(right)
    assert torch.allclose(policy.logprobs(left)[left.mask], policy.logprobs(right)[right.mask], atol=1e-6)


def test_more_padding_changes_no_log_prob() -> None:
    policy = FakePolicy()
    sampler = policy.sampler(seed=0, step=1, group=2)
    truncated = sampler.sample([rl.Prompt(id="one", text="is it")], rl.Sampling(max_tokens=4, top_k=3))
    for rollouts in (make_rollouts(), truncated):
        padded = wider(rollouts)
        assert padded.attend.shape[1] == rollouts.attend.shape[1] + 3
        assert torch.allclose(policy.logprobs(padded)[padded.mask], rollouts.logp[rollouts.mask], atol=1e-5)


def test_awkward_feedback_is_what_its_names_say() -> None:
    rollouts = make_rollouts()
    said = awkward_feedback(rollouts)
    assert said["one failure"].fraction(rl.Failed) == 1 / 4
    assert said["no opinion at all"].fraction(rl.Abstain) == 1
    assert not said["no opinion at all"].totals(rollouts.group)[1].any()
    assert said["a cost channel"].sources("cost:harm") == ("harm",)
    assert len(set(said["equal scores"].totals(rollouts.group)[0].tolist())) == 1
