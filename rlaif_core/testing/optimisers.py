"""The contract of an optimiser: it moves what it may, reports numbers, and goes on from a checkpoint to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlaif_core.errors import PluginError, RlaifError, blame
from rlaif_core.protocols import Optimiser, Policy, Sampling
from rlaif_core.testing.compare import difference, snapshot, untouched
from rlaif_core.testing.contract import named, per_token, through_a_checkpoint
from rlaif_core.testing.fake import FakePolicy
from rlaif_core.testing.values import PROMPTS, make_experience, make_feedback
from rlaif_core.types import Experience, Rollouts

STEPS = 3
METHODS = ("prepare", "sources", "weights", "critic", "skip", "state_dict", "load_state_dict")
BETTER, WORSE = "yes please", "no thanks"


def check_optimiser(
    build: Callable[[], Optimiser], *, policy: Callable[[], Policy] = FakePolicy, improves: bool = True
) -> None:
    """Check an optimiser that `build()` makes anew: metrics, what moves and whither, exact resume, nothing to train.

    It is trained for a few steps on answers that `policy()` samples, with feedback in every channel that it reads.
    `improves=False` allows updates that do not favour the better of two answers.
    """
    if not callable(build):
        name = type(build).__name__
        raise PluginError(
            f"check_optimiser was given an instance of {name}, but must make several; "
            f"give the class, or lambda: {name}(...)"
        )
    _check_learning(build, policy)
    _check_frozen(build, policy)
    _check_resume(build, policy)
    if improves:
        _check_direction(build, policy)
    _check_untrainable(build, policy)


def _check_untrainable(build: Callable[[], Optimiser], make: Callable[[], Policy]) -> None:
    untrainable = make()
    untrainable.module.requires_grad_(False)
    optimiser, part = _built(build)
    try:
        optimiser.prepare(untrainable, STEPS)
        _stepped(optimiser, part, untrainable, 0)
    except RlaifError:
        return  # the right answer: said in words, before anything was lost
    except Exception as error:
        raise PluginError(f"{part}: nothing was trainable and it raised {error!r}; raise a TrainingError") from error
    raise PluginError(f"{part} trained a policy without trainable parameters in silence; raise a TrainingError")


def _check_learning(build: Callable[[], Optimiser], make: Callable[[], Policy]) -> None:
    policy, (optimiser, part) = make(), _built(build)
    start, version = snapshot(_weights(policy), "policy"), policy.version
    trainable = _trainable(policy)
    optimiser.prepare(policy, STEPS)
    _check_trainable(f"{type(optimiser).__name__}.prepare", policy, trainable)
    for step in range(STEPS):
        _stepped(optimiser, part, policy, step)
        _check_trainable(part, policy, trainable)
    if not difference(start, snapshot(_weights(policy), "policy")):
        raise PluginError(f"{part} moved no parameter in {STEPS} steps with advantages")
    if policy.version == version:
        raise PluginError(f"{part} moved the policy and left policy.version at {version}; add 1 for every update")
    rollouts = policy.sampler(seed=0, step=0, group=2).sample(PROMPTS, Sampling(max_tokens=4))
    critic = optimiser.critic()
    if "values" in critic.gives:
        per_token(f"{type(optimiser).__name__}.critic().values", critic.values(rollouts), rollouts)


def _check_trainable(part: str, policy: Policy, expected: Sequence[str]) -> None:
    if _trainable(policy) != expected:
        raise PluginError(f"{part} changed requires_grad of the policy's parameters; they are the user's to freeze")


def _check_frozen(build: Callable[[], Optimiser], make: Callable[[], Policy]) -> None:
    policy, (optimiser, part) = make(), _built(build)
    frozen = next(iter(policy.module.parameters()))
    frozen.requires_grad_(False)
    kept = frozen.detach().clone()
    optimiser.prepare(policy, STEPS)
    _stepped(optimiser, part, policy, 0)
    if not torch.equal(kept, frozen):
        raise PluginError(f"{part} moved a frozen parameter; train those with requires_grad only")


def _check_resume(build: Callable[[], Optimiser], make: Callable[[], Policy]) -> None:
    """2 * STEPS in one go must equal STEPS, save, load into fresh objects, and STEPS again, to the last bit."""
    policy, (optimiser, _) = make(), _built(build)
    part = f"{type(optimiser).__name__}.state_dict"
    optimiser.prepare(policy, 2 * STEPS)
    for step in range(STEPS):
        _stepped(optimiser, part, policy, step)
    with blame(f"{type(optimiser).__name__}.skip"):
        optimiser.skip()
    with blame(part):
        saved = through_a_checkpoint({"policy": policy.state_dict(), "optimiser": optimiser.state_dict()})
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


def _check_direction(build: Callable[[], Optimiser], make: Callable[[], Policy]) -> None:
    """Of two answers that channel "reward" alone tells apart, the better must gain on the worse after some step.

    Policy gradients and preferences promise that much, whatever their penalties, warm-up and number of passes.
    """
    policy, (optimiser, part) = make(), _built(build)
    optimiser.prepare(policy, STEPS)
    channels = _channels(optimiser)
    said = {channel: [float(channel == "reward"), 0.0] * len(PROMPTS) for channel in channels}
    leads = [_lead(_pairs(policy))]
    for step in range(STEPS):
        _updated(optimiser, part, policy, step, _experience(optimiser, _pairs(policy), said))
        leads.append(_lead(_pairs(policy)))
    if "reward" in channels and all(lead < leads[0] for lead in leads[1:]):
        raise PluginError(
            f"{part} made the better of two answers less likely against the worse in each of {STEPS} steps; "
            "look at the sign of its loss, or say check_optimiser(..., improves=False)"
        )


def _pairs(policy: Policy) -> Rollouts:
    """A better and a worse answer to each prompt as if drawn, with the log-probs that the policy gives them now."""
    pairs = policy.sampler(seed=5, step=0, group=2).recorded(PROMPTS, [(BETTER, WORSE)] * len(PROMPTS))
    return replace(pairs, recorded=False)


def _lead(pairs: Rollouts) -> float:
    """By how many nats the better answers are likelier than the worse, over all pairs."""
    better, worse = pairs.logp.double().sum(1).reshape(-1, 2).sum(0).tolist()
    return float(better - worse)


def _built(build: Callable[[], Optimiser]) -> tuple[Optimiser, str]:
    """A new optimiser, and how complaints call its `step`."""
    optimiser = build()
    for method in METHODS:
        named(optimiser, method)
    return optimiser, named(optimiser, "step")


def _trainable(policy: Policy) -> list[str]:
    return [name for name, parameter in policy.module.named_parameters() if parameter.requires_grad]


def _channels(optimiser: Optimiser) -> list[str]:
    return sorted(optimiser.channels) if optimiser.channels is not None else ["reward", "cost:fake"]


def _experience(optimiser: Optimiser, rollouts: Rollouts, said: Mapping[str, Sequence[float]]) -> Experience:
    """What was `said` in each channel, and what the optimiser's own sources say."""
    brought: dict[str, Any] = {name: source.score(rollouts) for name, source in optimiser.sources().items()}
    own = {channel: channel for channel in said}
    everything = {**said, **brought}
    feedback = make_feedback(rollouts, everything, channels=own, weights=optimiser.weights(), contributed=brought)
    return make_experience(rollouts, feedback)


def _stepped(optimiser: Optimiser, part: str, policy: Policy, step: int) -> None:
    """A step on answers sampled now, with feedback that tells siblings apart in every channel the optimiser reads."""
    rollouts = policy.sampler(seed=5, step=step, group=4).sample(PROMPTS, Sampling(max_tokens=6))
    said = {
        channel: [((7 + place) * row % 5) / 4 for row in range(len(rollouts))]
        for place, channel in enumerate(_channels(optimiser))
    }
    _updated(optimiser, part, policy, step, _experience(optimiser, rollouts, said))


def _updated(optimiser: Optimiser, part: str, policy: Policy, step: int, experience: Experience) -> None:
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


def _weights(policy: Policy) -> dict[str, Tensor]:
    return dict(policy.module.named_parameters())
