"""Contract checks for what trains: optimisers, on a `FakePolicy`, and policies themselves."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlaif_core import checkpoint
from rlaif_core.errors import PluginError, RlaifError, blame
from rlaif_core.protocols import Optimiser, Policy, Sampling, State
from rlaif_core.testing.compare import difference, snapshot, untouched
from rlaif_core.testing.fake import FakePolicy
from rlaif_core.testing.values import make_experience, make_feedback
from rlaif_core.types import Experience, Prompt, Rollouts

STEPS = 3
PROMPTS = (
    Prompt(id="one", text="is it red"),
    Prompt(id="two", messages=({"role": "system", "content": "one"}, {"role": "user", "content": "yes or no"})),
)


def check_optimiser(build: Callable[[], Optimiser], *, policy: Callable[[], Policy] = FakePolicy) -> None:
    """Check an optimiser that `build()` makes anew: metrics, which parameters move, exact resume, nothing to train.

    It is trained for a few steps on answers that `policy()` samples, with feedback in every channel that it reads.
    """
    _check_learning(build, policy)
    _check_frozen(build, policy)
    _check_resume(build, policy)
    untrainable = policy()
    untrainable.module.requires_grad_(False)
    optimiser = build()
    part = f"{type(optimiser).__name__}.step"
    try:
        optimiser.prepare(untrainable, STEPS)
        _stepped(optimiser, part, untrainable, 0)
    except RlaifError:
        return  # the right answer: said in words, before anything was lost
    except Exception as error:
        raise PluginError(f"{part}: nothing was trainable and it raised {error!r}; raise a TrainingError") from error
    raise PluginError(f"{part} trained a policy without trainable parameters in silence; raise a TrainingError")


def check_policy(policy: Policy, *, prompts: Sequence[Prompt] = PROMPTS) -> None:
    """Check a policy: seeded sampling, log-probs, gradients, the reference, state, and saving."""
    rollouts = _check_sampling(policy, prompts)
    _check_forward(policy, rollouts)
    _check_turns(policy, rollouts, prompts)
    _check_memory(policy, rollouts)


def _check_learning(build: Callable[[], Optimiser], make: Callable[[], Policy]) -> None:
    policy, optimiser = make(), build()
    part = f"{type(optimiser).__name__}.step"
    start, version = snapshot(_weights(policy), "policy"), policy.version
    trainable = [name for name, p in policy.module.named_parameters() if p.requires_grad]
    optimiser.prepare(policy, STEPS)
    for step in range(STEPS):
        _stepped(optimiser, part, policy, step)
    if not difference(start, snapshot(_weights(policy), "policy")):
        raise PluginError(f"{part} moved no parameter in {STEPS} steps with advantages")
    if policy.version == version:
        raise PluginError(f"{part} moved the policy and left policy.version at {version}; add 1 for every update")
    if trainable != [name for name, p in policy.module.named_parameters() if p.requires_grad]:
        raise PluginError(f"{part} changed requires_grad of the policy's parameters; they are the user's to freeze")
    rollouts = policy.sampler(seed=0, step=0, group=2).sample(PROMPTS, Sampling(max_tokens=4))
    critic = optimiser.critic()
    if "values" in critic.gives:
        _shaped(f"{type(optimiser).__name__}.critic().values", critic.values(rollouts), rollouts)


def _check_frozen(build: Callable[[], Optimiser], make: Callable[[], Policy]) -> None:
    policy, optimiser = make(), build()
    part = f"{type(optimiser).__name__}.step"
    frozen = next(iter(policy.module.parameters()))
    frozen.requires_grad_(False)
    kept = frozen.detach().clone()
    optimiser.prepare(policy, STEPS)
    _stepped(optimiser, part, policy, 0)
    if not torch.equal(kept, frozen):
        raise PluginError(f"{part} moved a frozen parameter; train those with requires_grad only")


def _check_resume(build: Callable[[], Optimiser], make: Callable[[], Policy]) -> None:
    """2 * STEPS in one go must equal STEPS, save, load into fresh objects, and STEPS again, to the last bit."""
    policy, optimiser = make(), build()
    part = f"{type(optimiser).__name__}.state_dict"
    optimiser.prepare(policy, 2 * STEPS)
    for step in range(STEPS):
        _stepped(optimiser, part, policy, step)
    with blame(part):
        saved = _through_a_checkpoint({"policy": policy.state_dict(), "optimiser": optimiser.state_dict()})
    resumed_policy, resumed = make(), build()
    resumed.prepare(resumed_policy, 2 * STEPS)
    resumed_policy.load_state_dict(saved["policy"])
    with blame(f"{type(optimiser).__name__}.load_state_dict"):
        resumed.load_state_dict(saved["optimiser"])
    chance = torch.get_rng_state()
    for its_policy, its in ((policy, optimiser), (resumed_policy, resumed)):
        torch.set_rng_state(chance)
        for step in range(STEPS, 2 * STEPS):
            _stepped(its, part, its_policy, step)
    one = snapshot([_weights(policy), optimiser.state_dict()], "state")
    other = snapshot([_weights(resumed_policy), resumed.state_dict()], "state")
    if path := difference(one, other):
        raise PluginError(f"{part} does not hold all that a resumed run needs: after {STEPS} more steps {path} differs")


def _experience(optimiser: Optimiser, policy: Policy, step: int) -> Experience:
    """Answers sampled now, with feedback that tells siblings apart in every channel the optimiser reads."""
    rollouts = policy.sampler(seed=5, step=step, group=4).sample(PROMPTS, Sampling(max_tokens=6))
    channels = sorted(optimiser.channels) if optimiser.channels is not None else ["reward", "cost:fake"]
    said = {
        channel: [((7 + place) * row % 5) / 4 for row in range(len(rollouts))] for place, channel in enumerate(channels)
    }
    brought: dict[str, Any] = {name: source.score(rollouts) for name, source in optimiser.sources().items()}
    own = {channel: channel for channel in channels}
    feedback = make_feedback(rollouts, said | brought, channels=own, weights=optimiser.weights())
    return make_experience(rollouts, feedback)


def _stepped(optimiser: Optimiser, part: str, policy: Policy, step: int) -> None:
    experience = _experience(optimiser, policy, step)
    with blame(f"{part} in step {step + 1}"), untouched(part, experience=experience):
        metrics = optimiser.step(policy, experience)
    if not isinstance(metrics, Mapping):
        raise PluginError(f"{part} returned {type(metrics).__name__}; return a mapping of metric names to numbers")
    reported: Mapping[str, object] = metrics
    for name, value in reported.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise PluginError(f"{part} reports {name!r} = {value!r}; metrics are finite Python numbers")
    for name, parameter in policy.module.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise PluginError(f"{part} left NaN or inf in the parameter {name!r}")


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
    _shaped(f"{part}(...).logp", said.logp, rollouts)
    if said.entropy is None or said.hidden is None or said.last is None:
        raise PluginError(f"{part} must give entropy, and hidden with last, when asked to")
    _shaped(f"{part}(...).entropy", said.entropy, rollouts)
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
    if not bool(recorded.mask.any(1).all()) or not bool((recorded.logp < 0).any()):
        raise PluginError(f"{part} must score every answer with the policy's own log-probs")


def _check_memory(policy: Policy, rollouts: Rollouts) -> None:
    part = type(policy).__name__
    policy.keep_reference()
    with torch.no_grad():
        start = policy.logprobs(rollouts).clone()
        with blame(f"{part}.state_dict"):
            saved = _through_a_checkpoint(policy.state_dict())
        for parameter in policy.module.parameters():
            parameter.mul_(1.5) if parameter.requires_grad else None
        moved = policy.logprobs(rollouts)
        reference = policy.reference_logprobs(rollouts)
        policy.load_state_dict(saved)
        back = policy.logprobs(rollouts)
    if torch.equal(start, moved):
        raise PluginError(f"{part}.logprobs do not depend on the trainable parameters of its module")
    if not torch.allclose(start, reference, atol=1e-4):
        raise PluginError(f"{part}.reference_logprobs moved with the policy; keep_reference must remember it")
    if not torch.equal(start, back):
        raise PluginError(f"{part}.load_state_dict does not bring back the policy that state_dict described")
    with tempfile.TemporaryDirectory() as folder:
        policy.save(Path(folder) / "policy")
        if not any((Path(folder) / "policy").iterdir()):
            raise PluginError(f"{part}.save wrote nothing")


def _weights(policy: Policy) -> dict[str, Tensor]:
    return dict(policy.module.named_parameters())


def _shaped(part: str, values: Tensor, rollouts: Rollouts) -> None:
    if values.shape != rollouts.mask.shape or values.dtype != torch.float32:
        raise PluginError(f"{part} is {tuple(values.shape)} {values.dtype}, but must be [B,T] float32")
    if not bool(torch.isfinite(values).all()):
        raise PluginError(f"{part} is not finite")
    if bool((values[~rollouts.mask.to(values.device)] != 0).any()):
        raise PluginError(f"{part} must be 0 wherever the rollouts' mask is False")


def _through_a_checkpoint(state: State) -> State:
    """`state` as a resumed run gets it back; what a checkpoint cannot hold is refused here."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), 1, state, keep=1)
        return checkpoint.load(Path(folder))[1]
