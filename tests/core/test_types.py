from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch

import rlaif_core as rl
from rlaif_core.testing import make_experience, make_feedback, make_rollouts


def test_a_prompt_reads_as_text_whatever_it_was_given() -> None:
    assert rl.Prompt(id="a", text="hello").text == "hello"
    chat = rl.Prompt(id="b", messages=({"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}))
    assert chat.text == "hi"
    assert rl.Prompt(id="c", text="shown", messages=chat.messages).text == "shown"


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"id": "", "text": "x"}, "a prompt needs a non-empty id"),
        ({"id": "a"}, "prompt 'a' is empty; give it text or messages"),
        ({"id": "a", "text": 3}, "prompt 'a' is empty"),
        ({"id": "a", "messages": ("hi",)}, "prompt 'a': a message must have 'role' and 'content' texts, got 'hi'"),
        ({"id": "a", "messages": ({"content": "hi"},)}, "must have 'role' and 'content'"),
        ({"id": "a", "messages": ({"role": "user", "content": None},)}, "the content of a 'user' message is not text"),
        ({"id": "a", "text": "half \ud83d"}, r"holds half a character \(a lone surrogate\); mend the dataset"),
        ({"id": "a\ud83d", "text": "b"}, r"holds half a character"),
        ({"id": "a", "messages": ({"role": "user", "content": "\udc00"},), "text": "b"}, r"holds half a character"),
    ],
)
def test_a_prompt_that_cannot_be_asked_is_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(rl.DataError, match=complaint):
        rl.Prompt(**fields)


def test_a_prompt_is_frozen_and_keeps_its_own_copy() -> None:
    meta = {"answer": "4"}
    prompt = rl.Prompt(id="a", text="2 + 2", meta=meta)
    meta["answer"] = "5"
    assert prompt.meta["answer"] == "4"
    with pytest.raises(TypeError):
        prompt.meta["answer"] = "5"  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        prompt.text = "3 + 3"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        prompt.extra = 1  # type: ignore[attr-defined]


def changed(name: str, change: Any) -> dict[str, Any]:
    """One field of ordinary rollouts, changed."""
    return {name: change(getattr(make_rollouts(), name))}


def with_first(value: Any) -> Any:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor[:, 0] = value
        return tensor

    return change


BAD_ROLLOUTS = {
    "no rows": ({"prompts": ()}, "Rollouts are empty; an action must return at least one answer"),
    "completions": ({"completions": ("one",)}, "Rollouts hold 4 prompts but 1 completions"),
    "finish": ({"finish": ("stop",) * 3}, "Rollouts hold 4 prompts but 3 finish"),
    "list of tokens": ({"tokens": [[0]]}, "Rollouts.tokens is a list, but must be a tensor; the stage that built it"),
    "flat tokens": (changed("tokens", lambda t: t[0]), r"Rollouts.tokens has 1 dimensions, but must be \[B,T\]"),
    "short tokens": (changed("tokens", lambda t: t[:, 1:]), r"Rollouts.attend is \(4, \d+\) torch.bool, but must be"),
    "type of tokens": (changed("tokens", lambda t: t.int()), r"Rollouts.tokens is .* torch.int32, but must be .*int64"),
    "type of mask": (changed("mask", lambda m: m.float()), "Rollouts.mask is .* torch.float32, but must be .*bool"),
    "type of logp": (changed("logp", lambda x: x.double()), "Rollouts.logp is .* torch.float64"),
    "shape of group": (changed("group", lambda g: g[:2]), r"Rollouts.group is \(2,\) torch.int64, but must be \(4,\)"),
    "mask beyond attend": (changed("mask", lambda m: m | True), "marks padding as chosen; mask must lie within attend"),
    "first token": (changed("mask", with_first(True)), "marks the first token as chosen, but nothing precedes it"),
    "logp off-mask": (changed("logp", lambda x: x - 1), "Rollouts.logp must be 0 wherever mask is False"),
    "logp": (changed("logp", lambda x: x * torch.inf), "must be 0 wherever|Rollouts.logp is not finite"),
    "finish word": ({"finish": ("stop", "eos", "stop", "stop")}, r"holds \['eos'\]; each must be 'stop' or 'length'"),
    "temperature": ({"temperature": 0.0}, "Rollouts.temperature is 0.0, but must be above 0"),
    "nan temperature": ({"temperature": float("nan")}, "temperature is nan"),
}


@pytest.mark.parametrize("defect", BAD_ROLLOUTS)
def test_rollouts_that_do_not_hold_together_are_refused(defect: str) -> None:
    change, complaint = BAD_ROLLOUTS[defect]
    with pytest.raises(rl.PluginError, match=complaint):
        replace(make_rollouts(), **change)


def test_a_log_prob_of_minus_infinity_is_refused() -> None:
    rollouts = make_rollouts()
    logp = rollouts.logp.masked_fill(rollouts.mask, -torch.inf)
    with pytest.raises(rl.PluginError, match="the sampler drew a token of probability 0 or produced NaN"):
        replace(rollouts, logp=logp)


def test_rollouts_are_as_long_as_their_answers_and_frozen() -> None:
    rollouts = make_rollouts()
    assert len(rollouts) == 4
    assert isinstance(replace(rollouts, completions=list(rollouts.completions)).completions, tuple)
    with pytest.raises(FrozenInstanceError):
        rollouts.policy_version = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        rollouts.decisions["x"] = torch.zeros(4)  # type: ignore[index]


def test_some_of_the_rollouts_can_be_taken_in_any_order() -> None:
    rollouts = replace(make_rollouts(), decisions={"choice": torch.arange(4)}, policy_version=7)
    some = rollouts.take([3, 0])
    assert some.completions == (rollouts.completions[3], rollouts.completions[0])
    assert torch.equal(some.tokens, rollouts.tokens[[3, 0]])
    assert some.decisions["choice"].tolist() == [3, 0]
    assert (some.group.tolist(), some.policy_version) == ([1, 0], 7)


def bad_advantages(change: Any) -> dict[str, Any]:
    experience = make_experience(make_rollouts())
    return {"advantages": {"reward": change(experience.advantages["reward"])}}


BAD_EXPERIENCE = {
    "shape": (bad_advantages(lambda a: a[:, 1:]), rl.PluginError, r"Experience.advantages\['reward'\] is \(4, \d+\)"),
    "lists": (
        bad_advantages(lambda a: a.tolist()),
        rl.PluginError,
        r"Experience.advantages\['reward'\] is a list, but must be a tensor",
    ),
    "no channels": (
        {"advantages": torch.zeros(4)},
        rl.PluginError,
        "is a Tensor, but must map each channel",
    ),
    "type": (bad_advantages(lambda a: a.double()), rl.PluginError, "torch.float64, but must be .* torch.float32"),
    "nan": (
        bad_advantages(lambda a: a * torch.nan),
        rl.FeedbackError,
        "is not finite; the credit assignment",
    ),
    "off-mask": (bad_advantages(lambda a: a + 1), rl.PluginError, "must be 0 wherever the rollouts' mask is False"),
    "returns": (
        {"returns": {"reward": torch.ones(1, 1)}},
        rl.PluginError,
        r"returns\['reward'\] is \(1, 1\)",
    ),
    "counted": (
        {"counted": torch.ones(3, dtype=torch.bool)},
        rl.PluginError,
        r"counted is \(3,\) torch.bool",
    ),
}


@pytest.mark.parametrize("defect", BAD_EXPERIENCE)
def test_experience_that_cannot_be_learnt_from_is_refused(defect: str) -> None:
    change, error, complaint = BAD_EXPERIENCE[defect]
    with pytest.raises(error, match=complaint):
        replace(make_experience(make_rollouts()), **change)


def test_experience_looks_at_the_chosen_tokens_of_what_counts() -> None:
    rollouts = make_rollouts()
    advantages = {"reward": torch.zeros(rollouts.mask.shape)}
    everyone = rl.Experience(rollouts=rollouts, feedback=make_feedback(rollouts), advantages=advantages)
    assert torch.equal(everyone.mask, rollouts.mask)
    some = replace(everyone, counted=torch.tensor([True, False, True, False]))
    assert some.mask.any(1).tolist() == [True, False, True, False]


def test_experience_is_split_between_groups_and_never_within() -> None:
    rollouts = make_rollouts([("yes", "no"), ("red",), ("blue", "one", "two")])
    experience = make_experience(rollouts)
    assert experience.split(1) == [experience]
    shares = experience.split(2)
    assert [share.rollouts.group.tolist() for share in shares] == [[0, 0], [1, 2, 2, 2]]
    assert shares[1].feedback.outcomes["fake"] == experience.feedback.outcomes["fake"][2:]
    assert torch.equal(shares[1].advantages["reward"], experience.advantages["reward"][2:])
    with pytest.raises(rl.DataError, match="a batch of 3 groups cannot be shared out 4 ways"):
        experience.split(4)


def test_metrics_are_finite_numbers_by_name_and_read_only() -> None:
    metrics = rl.Metrics({"loss": 1, "kl": 0.5})
    assert dict(metrics) == {"loss": 1.0, "kl": 0.5}
    assert metrics == {"loss": 1.0, "kl": 0.5}
    assert repr(metrics) == "Metrics({'loss': 1.0, 'kl': 0.5})"
    with pytest.raises(TypeError):
        metrics["loss"] = 2.0  # type: ignore[index]
    for value in (float("nan"), float("inf")):
        with pytest.raises(rl.PluginError, match=f"metric 'loss' is {value}; whoever reports it must keep it finite"):
            rl.Metrics({"loss": value})
