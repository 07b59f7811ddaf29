"""The contract of an action: answers to what was asked, with the log-probs that the policy gives them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rlaif_core.errors import PluginError
from rlaif_core.protocols import Action, Sampling
from rlaif_core.testing.compare import difference, snapshot, untouched
from rlaif_core.testing.contract import named
from rlaif_core.testing.fake import FakePolicy
from rlaif_core.types import Prompt, Rollouts


def check_action(action: Action, *, prompts: Sequence[Prompt] = (), draft: bool = False) -> None:
    """Check an action with a `FakePolicy` to sample from: as the first of its chain, or on another's draft."""
    part = named(action, "act")
    asked = list(prompts) or [Prompt(id="one", text="is it red"), Prompt(id="two", text="yes or no")]
    policy = FakePolicy()
    given = policy.sampler(seed=3, step=1, group=2).sample(asked, Sampling(max_tokens=4)) if draft else None
    rollouts = _acted(action, part, policy, asked, given)
    if stray := {prompt.id for prompt in rollouts.prompts} - {prompt.id for prompt in asked}:
        raise PluginError(f"{part} returned answers to {sorted(stray)}, which nobody asked")
    owners: dict[int, str] = {}
    for label, prompt in zip(rollouts.group.tolist(), rollouts.prompts, strict=True):
        if owners.setdefault(label, prompt.id) != prompt.id:
            raise PluginError(f"{part} put prompts {owners[label]!r} and {prompt.id!r} into one group")
    if not torch.allclose(policy.logprobs(rollouts), rollouts.logp, atol=1e-3):
        raise PluginError(
            f"{part} returned log-probs that the policy does not give; score edited answers by recorded()"
        )
    again = _acted(action, part, policy, asked, given)
    if path := difference(snapshot(rollouts, "rollouts"), snapshot(again, "rollouts")):
        raise PluginError(f"{part} returned other answers for the same seed, step and prompts: {path} changed")


def _acted(
    action: Action, part: str, policy: FakePolicy, prompts: Sequence[Prompt], draft: Rollouts | None
) -> Rollouts:
    sampler = policy.sampler(seed=3, step=2, group=2)
    with untouched(part, prompts=prompts, draft=draft, policy=policy.state_dict()):
        rollouts = action.act(sampler, prompts, draft)
    if not isinstance(rollouts, Rollouts):
        raise PluginError(f"{part} returned a {type(rollouts).__name__}; return Rollouts")
    return rollouts
