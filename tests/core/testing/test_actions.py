from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

import rlaif_core as rl
from rlaif_core.testing import check_action


def action(act: Callable[..., Any]) -> Any:
    """An action with that `act`."""
    return type("Action", (), {"act": staticmethod(act)})()


FOUR = rl.Sampling(max_tokens=4)


def draw(sampler: rl.Sampler, prompts: Sequence[rl.Prompt], draft: rl.Rollouts | None) -> rl.Rollouts:
    return sampler.sample(prompts, FOUR)


def test_a_good_action_passes_first_and_on_a_draft() -> None:
    check_action(action(draw))
    check_action(action(lambda s, p, draft: s.extend(draft, ["yes"] * len(draft), FOUR)), draft=True)


def stray(sampler: rl.Sampler, prompts: Sequence[rl.Prompt], draft: rl.Rollouts | None) -> rl.Rollouts:
    return sampler.sample([rl.Prompt(id="stray", text="yes")], FOUR)


def one_group(sampler: rl.Sampler, prompts: Sequence[rl.Prompt], draft: rl.Rollouts | None) -> rl.Rollouts:
    rollouts = sampler.sample(prompts, FOUR)
    return replace(rollouts, group=torch.zeros_like(rollouts.group))


def unscored(sampler: rl.Sampler, prompts: Sequence[rl.Prompt], draft: rl.Rollouts | None) -> rl.Rollouts:
    rollouts = sampler.sample(prompts, FOUR)
    return replace(rollouts, logp=rollouts.logp - rollouts.mask.float())


def chance(sampler: rl.Sampler, prompts: Sequence[rl.Prompt], draft: rl.Rollouts | None) -> rl.Rollouts:
    return sampler.recorded(prompts, [[random.choice(["yes", "no", "red", "blue"]) for _ in range(9)] for _ in prompts])


def renamed(text: str) -> Callable[..., rl.Rollouts]:
    """Draws, and calls every answer `text`."""

    def act(sampler: rl.Sampler, prompts: Sequence[rl.Prompt], draft: rl.Rollouts | None) -> rl.Rollouts:
        rollouts = draw(sampler, prompts, draft)
        return replace(rollouts, completions=(text,) * len(rollouts))

    return act


def first_prompt(sampler: rl.Sampler, prompts: Sequence[rl.Prompt], draft: rl.Rollouts | None) -> rl.Rollouts:
    return sampler.sample(prompts[:1], FOUR)


def one_each(sampler: rl.Sampler, prompts: Sequence[rl.Prompt], draft: rl.Rollouts | None) -> rl.Rollouts:
    return sampler.sample(prompts, FOUR).take([0, 2])


BAD_ACTIONS = {
    "no rollouts": (lambda s, p, d: p, r"Action\.act returned a list; return Rollouts"),
    "stray": (stray, r"returned answers to \['stray'\], which nobody asked"),
    "one group": (one_group, r"Rollouts\.group 0 holds answers to two prompts, 'one' and 'two'"),
    "unscored": (unscored, r"log-probs that the policy does not give; score edited answers by recorded\(\)"),
    "other text": (renamed("x"), r"returned the completion 'x' for tokens that say '.+'; make edited answers by"),
    "no text": (renamed(""), "returned the completion '' for tokens that say"),
    "first prompt": (first_prompt, "returned 0 answers to prompt 'two', but the sampler's group is 2; answer every"),
    "one each": (one_each, "returned 1 answers to prompt 'one', but the sampler's group is 2"),
    "chance": (chance, "returned other answers for the same seed, step and prompts"),
}


@pytest.mark.parametrize("defect", BAD_ACTIONS)
def test_each_defect_of_an_action_is_told_by_its_own_sentence(defect: str) -> None:
    act, sentence = BAD_ACTIONS[defect]
    with pytest.raises(rl.PluginError, match=sentence):
        check_action(action(act))


def test_leaving_out_can_be_allowed() -> None:
    check_action(action(first_prompt), partial=True)
    check_action(action(one_each), partial=True)


def test_an_action_must_leave_its_draft_alone() -> None:
    def act(sampler: rl.Sampler, prompts: Sequence[rl.Prompt], draft: rl.Rollouts) -> rl.Rollouts:
        draft.tokens.add_(1)
        return sampler.sample(prompts, FOUR)

    with pytest.raises(rl.PluginError, match=r"Action\.act changed its input draft\.tokens in place"):
        check_action(action(act), draft=True)
