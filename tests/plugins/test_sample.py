from __future__ import annotations

from dataclasses import fields

import pytest

from rlaif_builtins.actions.sample import Sample
from rlaif_core import Action, ConfigError, Prompt, Sampling
from rlaif_core.options import checked, parameters
from rlaif_core.testing import FakePolicy, check_action

PROMPTS = [Prompt(id="a", text="is it"), Prompt(id="b", text="or not")]


def test_draws_a_group_of_answers_to_every_prompt() -> None:
    sample = Sample(max_tokens=3, temperature=0.7)
    check_action(sample)
    rollouts = sample.act(FakePolicy().sampler(seed=1, step=1, group=3), PROMPTS, None)
    assert isinstance(sample, Action)
    assert [prompt.id for prompt in rollouts.prompts] == ["a", "a", "a", "b", "b", "b"]
    assert rollouts.temperature == 0.7
    assert int(rollouts.mask.sum(1).max()) <= 3
    plain = FakePolicy().sampler(seed=1, step=1, group=3).sample(PROMPTS, Sampling(max_tokens=3, temperature=0.7))
    assert rollouts.completions == plain.completions


def test_options_are_those_of_sampling() -> None:
    assert list(parameters(Sample)) == [field.name for field in fields(Sampling)]
    options = checked(Sample, {"stop": ["\n"], "top_k": 5}, "action 'sample'")
    assert Sample(**options).stop == ("\n",)
    assert Sample(**checked(Sample, {"stop": "."}, "action 'sample'")).stop == (".",)
    with pytest.raises(ConfigError, match="temperature is 0"):
        Sample(temperature=0)
    with pytest.raises(ConfigError, match="unknown option 'max_token'; did you mean 'max_tokens'"):
        checked(Sample, {"max_token": 3}, "action 'sample'")


def test_only_as_the_first_action() -> None:
    sampler = FakePolicy().sampler(seed=1, step=1, group=1)
    draft = Sample(max_tokens=2).act(sampler, PROMPTS, None)
    with pytest.raises(ConfigError, match=r"put it first in \[\[actions\]\]"):
        Sample(max_tokens=2).act(sampler, PROMPTS, draft)
