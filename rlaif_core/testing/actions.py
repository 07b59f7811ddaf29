"""The contract of an action: answers to what was asked, with the log-probs that the policy gives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile

import torch

from rlaif_core.errors import PluginError
from rlaif_core.protocols import Action, Sampling
from rlaif_core.testing.compare import difference, snapshot, untouched
from rlaif_core.testing.contract import check_state, named, remembered
from rlaif_core.testing.fake import EOS, FakePolicy
from rlaif_core.types import Prompt, Rollouts

GROUP = 2


def check_action(action: Action, *, prompts: Sequence[Prompt] = (), draft: bool = False, partial: bool = False) -> None:
    """Check an action with a `FakePolicy` to sample from: as the first of its chain, or on another's draft.

    `partial=True` allows leaving prompts out, and fewer answers to a prompt than the sampler's `group`.
    """
    part = named(action, "act")
    start = remembered(action)
    asked = list(prompts) or [Prompt(id="one", text="is it red"), Prompt(id="two", text="yes or no")]
    policy = FakePolicy()
    given = policy.sampler(seed=3, step=1, group=GROUP).sample(asked, Sampling(max_tokens=4)) if draft else None
    rollouts = _acted(action, part, policy, asked, given)
    _check_groups(rollouts, part, asked, 0 if partial else GROUP)
    _check_words(rollouts, part, policy)
    again = _acted(action, part, policy, asked, given)
    if path := difference(snapshot(rollouts, "rollouts"), snapshot(again, "rollouts")):
        raise PluginError(f"{part} returned other answers for the same seed, step and prompts: {path} changed")
    check_state(action, start)


def _check_groups(rollouts: Rollouts, part: str, asked: Sequence[Prompt], least: int) -> None:
    """Answers to what was asked, and `least` of them to each prompt; `Rollouts` themselves keep groups apart."""
    if stray := {prompt.id for prompt in rollouts.prompts} - {prompt.id for prompt in asked}:
        raise PluginError(f"{part} returned answers to {sorted(stray)}, which nobody asked")
    answers = Counter(prompt.id for prompt in rollouts.prompts)
    for prompt in asked:
        if answers[prompt.id] < least:
            raise PluginError(
                f"{part} returned {answers[prompt.id]} answers to prompt {prompt.id!r}, but the sampler's group "
                f"is {least}; answer every prompt that often, or say check_action(..., partial=True)"
            )


def _check_words(rollouts: Rollouts, part: str, policy: FakePolicy) -> None:
    """The log-probs are the policy's, and each completion is the text of all the tokens that were chosen last."""
    if not torch.allclose(policy.logprobs(rollouts), rollouts.logp, atol=1e-3):
        raise PluginError(
            f"{part} returned log-probs that the policy does not give; score edited answers by recorded()"
        )
    for row, text in enumerate(rollouts.completions):
        words = rollouts.attend[row] & (rollouts.tokens[row] != EOS)
        said = rollouts.tokens[row][words].tolist()
        chosen = len(list(takewhile(bool, reversed(rollouts.mask[row][words].tolist()))))
        written = [token for token in policy.encode(text) if token != EOS]
        if len(written) < chosen or written != said[len(said) - len(written) :]:
            raise PluginError(
                f"{part} returned the completion {text!r} for tokens that say "
                f"{policy.decode(said[len(said) - chosen :])!r}; make edited answers by sampler.recorded()"
            )


def _acted(
    action: Action, part: str, policy: FakePolicy, prompts: Sequence[Prompt], draft: Rollouts | None
) -> Rollouts:
    sampler = policy.sampler(seed=3, step=2, group=GROUP)
    with untouched(part, prompts=prompts, draft=draft, policy=policy.state_dict()):
        rollouts = action.act(sampler, prompts, draft)
    if not isinstance(rollouts, Rollouts):
        raise PluginError(f"{part} returned a {type(rollouts).__name__}; return Rollouts")
    return rollouts
