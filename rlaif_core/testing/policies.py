"""The contract of a policy: seeded answers, the log-probs they were drawn with, gradients, a reference, a state."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from rlaif_core.errors import PluginError, blame
from rlaif_core.protocols import Policy, Sampling
from rlaif_core.testing.compare import difference, snapshot, untouched
from rlaif_core.testing.contract import per_token, through_a_checkpoint
from rlaif_core.testing.values import PROMPTS
from rlaif_core.types import Prompt, Rollouts


def check_policy(policy: Policy, *, prompts: Sequence[Prompt] = PROMPTS) -> None:
    """Check a policy: seeded sampling, log-probs, gradients, the reference, state, and saving."""
    rollouts = _check_sampling(policy, prompts)
    _check_forward(policy, rollouts)
    _check_turns(policy, rollouts, prompts)
    _check_memory(policy, rollouts)


def _check_sampling(policy: Policy, prompts: Sequence[Prompt]) -> Rollouts:
    part = f"{type(policy).__name__}.sampler"
    sampling = Sampling(max_tokens=6, temperature=0.8)
    rollouts = policy.sampler(seed=1, step=2, group=3).sample(prompts, sampling)
    asked = [prompt.id for prompt in prompts for _ in range(3)]
    if [prompt.id for prompt in rollouts.prompts] != asked:
        raise PluginError(f"{part} must draw `group` answers for each prompt, neighbours in one group, in order")
    if rollouts.group.tolist() != [index // 3 for index in range(len(rollouts))]:
        raise PluginError(f"{part} must number the groups 0, 1, ... in the order of the prompts")
    chosen = rollouts.mask.sum(1).tolist()
    if too_long := [count for count in chosen if count > sampling.max_tokens]:
        raise PluginError(f"{part} drew {too_long[0]} tokens where max_tokens is {sampling.max_tokens}")
    for count, finish in zip(chosen, rollouts.finish, strict=True):
        if finish == "length" and count != sampling.max_tokens:
            raise PluginError(f"{part} calls an answer of {count} tokens cut off, of at most {sampling.max_tokens}")
    if rollouts.temperature != sampling.temperature or rollouts.policy_version != policy.version:
        raise PluginError(f"{part} must record the temperature and the policy's version in the rollouts")
    again = policy.sampler(seed=1, step=2, group=3).sample(prompts, sampling)
    if path := difference(snapshot(rollouts, "rollouts"), snapshot(again, "rollouts")):
        raise PluginError(f"{part} drew other answers for the same seed, step and group: {path} changed")
    alone = policy.sampler(seed=1, step=2, group=3).sample(prompts[-1:], sampling)
    if alone.completions != rollouts.completions[-3:]:
        raise PluginError(f"{part} draws other answers when a prompt comes alone; seed by (run, step, prompt, sample)")
    others = [policy.sampler(seed=seed, step=2, group=3).sample(prompts, sampling).completions for seed in range(2, 8)]
    if all(other == rollouts.completions for other in others):
        raise PluginError(f"{part} draws the same answers whatever the seed")
    return rollouts


def _check_forward(policy: Policy, rollouts: Rollouts) -> None:
    part = f"{type(policy).__name__}.forward"
    with untouched(part, rollouts=rollouts):
        said = policy.forward(rollouts, entropy=True, hidden=True)
    per_token(f"{part}(...).logp", said.logp, rollouts)
    if said.entropy is None or said.hidden is None or said.last is None:
        raise PluginError(f"{part} must give entropy, and hidden with last, when asked to")
    per_token(f"{part}(...).entropy", said.entropy, rollouts)
    if tuple(said.hidden.shape) != (*rollouts.mask.shape, policy.hidden_size):
        raise PluginError(f"{part}(...).hidden is {tuple(said.hidden.shape)}, but must be [B,T,hidden_size]")
    if tuple(said.last.shape) != (len(rollouts), policy.hidden_size):
        raise PluginError(f"{part}(...).last is {tuple(said.last.shape)}, but must be [B,hidden_size]")
    gap = float((said.logp.detach().cpu() - rollouts.logp.cpu()).abs().max())
    if gap > 1e-2:
        raise PluginError(f"{part} gives log-probs up to {gap:.3g} away from those that the sampler recorded")
    trainable = [parameter for parameter in policy.module.parameters() if parameter.requires_grad]
    if trainable and not said.logp.requires_grad:
        raise PluginError(f"{part}(...).logp carries no gradients, so nothing can be learnt")


def _check_turns(policy: Policy, rollouts: Rollouts, prompts: Sequence[Prompt]) -> None:
    part = f"{type(policy).__name__}.sampler().extend"
    sampler = policy.sampler(seed=1, step=3, group=3)
    sampling = Sampling(max_tokens=6, temperature=0.8)
    longer = sampler.extend(rollouts, ["yes"] * len(rollouts), sampling)
    for row in range(len(rollouts)):
        before, after = (its.tokens[row][its.attend[row]].tolist() for its in (rollouts, longer))
        if after[: len(before)] != before:
            raise PluginError(f"{part} changed earlier tokens of answer {row}; keep them as they are")
        if not int(longer.mask[row].sum()) > int(rollouts.mask[row].sum()):
            raise PluginError(f"{part} drew no new tokens for answer {row}, or forgot which earlier ones were chosen")
    part = f"{type(policy).__name__}.sampler().recorded"
    answers = [["yes", "no please"] for _ in prompts]
    recorded = sampler.recorded(prompts, answers)
    if list(recorded.completions) != [answer for its in answers for answer in its]:
        raise PluginError(f"{part} must hand back the given answers as completions")
    if not recorded.recorded or rollouts.recorded:
        raise PluginError(f"{part} must mark its rollouts as recorded, and no others are")
    if not bool(recorded.mask.any(1).all()) or not bool((recorded.logp < 0).any()):
        raise PluginError(f"{part} must score every answer with the policy's own log-probs")


def _check_memory(policy: Policy, rollouts: Rollouts) -> None:
    part = type(policy).__name__
    policy.keep_reference()
    with torch.no_grad():
        start = policy.logprobs(rollouts).clone()
        read = policy.forward(rollouts, hidden=True).logp
        with blame(f"{part}.state_dict"):
            saved = through_a_checkpoint(policy.state_dict())
        for parameter in policy.module.parameters():
            parameter.mul_(1.5) if parameter.requires_grad else None
        moved = policy.logprobs(rollouts)
        with blame(f"{part}.reference_logprobs"):
            reference = policy.reference_logprobs(rollouts)
            beside = policy.reference_logprobs(rollouts, hidden=True)
        policy.load_state_dict(saved)
        back = policy.logprobs(rollouts)
    if torch.equal(start, moved):
        raise PluginError(f"{part}.logprobs do not depend on the trainable parameters of its module")
    if not torch.allclose(start, reference, atol=1e-4) or not torch.allclose(read, beside, atol=1e-4):
        raise PluginError(f"{part}.reference_logprobs moved with the policy; keep_reference must remember it")
    if not torch.equal(start, back):
        raise PluginError(f"{part}.load_state_dict does not bring back the policy that state_dict described")
    with tempfile.TemporaryDirectory() as folder:
        policy.save(Path(folder) / "policy")
        if not any((Path(folder) / "policy").iterdir()):
            raise PluginError(f"{part}.save wrote nothing")
