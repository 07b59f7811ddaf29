"""The whole algorithm: act, score, credit, observe, step. Each verb takes one value and returns the next.

Actions are chained, reward sources summed, credit is one, the optimiser is one, observers are told.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rlaif_core.errors import FeedbackError, PluginError, TrainingError, blame
from rlaif_core.feedback import Abstain, Failed, Feedback, Scored, outcomes_of
from rlaif_core.measure import measure
from rlaif_core.types import Experience, Metrics, Prompt, Rollouts
from rlaif_core.watch import watched

if TYPE_CHECKING:
    from rlaif_core.prompts import Prompts
    from rlaif_core.protocols import Action, Credit, Judge, Observer, Optimiser, Policy, RewardSource, Stateful
    from rlaif_core.stream import PromptStream


@dataclass(frozen=True, slots=True)
class Source:
    """A reward source in its place: its weight, channel, and whether the optimiser brought it."""

    source: RewardSource
    weight: float = 1.0
    channel: str = "reward"
    contributed: bool = False


@dataclass(slots=True)
class Loop:
    """The parts, and what the loop remembers between steps. `whose` says where each part comes from."""

    policy: Policy
    prompts: Prompts | PromptStream
    actions: Sequence[tuple[str, Action]]
    sources: Mapping[str, Source]
    credit: Credit
    optimiser: Optimiser
    whose: Mapping[str, str]
    seed: int
    batch: int
    group: int
    updates: int = 1
    judges: Mapping[str, Judge] = field(default_factory=dict)
    observers: Sequence[tuple[str, Observer]] = ()
    max_failed: float = 1.0
    max_idle: int = 0
    strict: bool = False
    step: int = 0
    idle: int = 0
    buffer: list[Experience] = field(default_factory=list)


def advance(loop: Loop) -> tuple[Experience, Metrics]:
    """One step: fresh rollouts unless a share of the last ones is left, then one update of the policy."""
    began = time.perf_counter()
    if not loop.buffer:
        rollouts = act(loop, loop.prompts.take(loop.batch))
        experience = credit(loop, rollouts, score(loop, rollouts))
        loop.buffer = experience.split(loop.updates)
    experience = loop.buffer[0]
    observed = observe(loop, experience)
    learns = bool(experience.mask.any())  # where every source abstained there is nothing to learn, and nothing wrong
    reported = update(loop, experience) if learns else Metrics()
    with blame(_at(loop, "optimiser")):  # by what it reports; all else has been held to its kind
        metrics = measure(experience, reported, time.perf_counter() - began, observed)
        if not learns:
            loop.optimiser.skip()
    loop.buffer = loop.buffer[1:]
    tell(loop, metrics)
    loop.step += 1
    return experience, metrics


def act(loop: Loop, prompts: Sequence[Prompt]) -> Rollouts:
    """Chain the actions: each gets the prompts and the rollouts of the one before."""
    with blame(_at(loop, "policy")):
        sampler = loop.policy.sampler(seed=loop.seed, step=loop.step + 1, group=loop.group)
    rollouts: Rollouts | None = None
    for part, action in loop.actions:
        with blame(_at(loop, part)), watched(loop.strict, rollouts):
            rollouts = action.act(sampler, prompts, rollouts)
            if not isinstance(rollouts, Rollouts):
                raise PluginError(f"act returned {type(rollouts).__name__}; an action returns Rollouts")
    assert rollouts is not None
    return rollouts


def score(loop: Loop, rollouts: Rollouts) -> Feedback:
    """Ask every source about every answer; stop if too many outcomes failed, before anything is trained on them."""
    outcomes, tokens = {}, {}
    for name, source in loop.sources.items():
        with blame(_at(loop, f"reward source {name!r}")), watched(loop.strict, rollouts):
            said = source.source.score(rollouts)
            if isinstance(said, Scored):
                tokens[name], said = said.tokens, said.outcomes
            outcomes[name] = outcomes_of(said, len(rollouts))
    weights = {name: source.weight for name, source in loop.sources.items()}
    with blame(_at(loop, "optimiser")):
        weights |= _contributed(loop)
    feedback = Feedback(
        outcomes=outcomes,
        token_scores=tokens,
        weights=weights,
        channels={name: source.channel for name, source in loop.sources.items()},
        contributed=frozenset(name for name, source in loop.sources.items() if source.contributed),
    )
    _refuse_outage(feedback, loop.max_failed)
    return feedback


def _contributed(loop: Loop) -> dict[str, float]:
    """The weights of the sources that the optimiser brought."""
    weights, own = dict(loop.optimiser.weights()), [name for name, its in loop.sources.items() if its.contributed]
    if unknown := sorted(set(weights) - set(own)):
        raise PluginError(f"weights() names {unknown[0]!r}, but the optimiser contributes {own or 'no source'}")
    return weights


def credit(loop: Loop, rollouts: Rollouts, feedback: Feedback) -> Experience:
    """Spread the feedback over the tokens, with whatever critic the optimiser trains."""
    with blame(_at(loop, "optimiser")):
        critic = loop.optimiser.critic()
    with blame(_at(loop, "credit")), watched(loop.strict, rollouts, feedback):
        if getattr(loop.credit, "compares", False) and len(set(rollouts.group.tolist())) == len(rollouts):
            raise TrainingError(
                "it compares the answers to one prompt, but each prompt has only one; "
                "raise [prompts] group to 2 or more, or use a credit that compares nothing"
            )
        experience = loop.credit.assign(rollouts, feedback, critic)
        if not isinstance(experience, Experience):
            raise PluginError(f"assign returned {type(experience).__name__}; a credit returns Experience")
    idle = all(not bool(advantages.any()) for advantages in experience.advantages.values())
    loop.idle = loop.idle + 1 if idle else 0
    if loop.max_idle and loop.idle >= loop.max_idle:
        why = "the answers of a group all score alike. Raise [prompts] group or the temperature, or mend the reward"
        if not bool(experience.mask.any()):
            why = "no answer counted. " + _left_out(rollouts, feedback)
        raise TrainingError(
            f"every advantage was 0 in {loop.idle} batches in a row, so nothing was learnt from them: {why}; "
            "rollouts/ holds who said what ([run] max_idle = 0 turns this check off)"
        )
    return experience


def observe(loop: Loop, experience: Experience) -> Metrics:
    """Tell the observers what is about to be learnt from, and gather what they report; one may stop the run here."""
    observed: dict[str, float] = {}
    for part, observer in loop.observers:
        with blame(_at(loop, part)), watched(loop.strict, experience):
            said = observer.observe(loop.step + 1, experience)
            if not isinstance(said, Mapping):
                raise PluginError(f"observe returned {type(said).__name__}; an observer returns metrics by name")
            if twice := sorted(set(said) & set(observed)):
                raise PluginError(f"it reports {twice[0]!r}, as another observer does; name it otherwise")
            measure(experience, Metrics(), 1.0, Metrics(said))  # a name that is taken, before the weights change
            observed |= Metrics(said)
    return Metrics(observed)


def tell(loop: Loop, metrics: Metrics) -> None:
    """Tell the observers that wish to know what the step that is now finished came to."""
    for part, observer in loop.observers:
        if told := getattr(observer, "told", None):
            with blame(_at(loop, part)):
                told(loop.step + 1, metrics)


def update(loop: Loop, experience: Experience) -> Metrics:
    """Let the optimiser learn; what it reports must be finite numbers."""
    with blame(_at(loop, "optimiser")), watched(loop.strict, experience):
        metrics = loop.optimiser.step(loop.policy, experience)
        if not isinstance(metrics, Mapping):
            raise PluginError(f"step returned {type(metrics).__name__}; an optimiser returns its metrics by name")
        return Metrics(metrics)


def _at(loop: Loop, part: str) -> str:
    return f"{loop.whose.get(part, part)}, step {loop.step + 1}"


def _refuse_outage(feedback: Feedback, most: float) -> None:
    source, share = max(feedback.shares(Failed), key=lambda its: its[1], default=("", 0.0))
    if share <= most:
        return
    raise FeedbackError(
        f"{share:.0%} of what {source!r} said failed, more than max_failed = {most:.0%}; nothing was trained on it. "
        f"{_reasons(feedback, Failed)}. Mend the source and resume the run, or raise [run] max_failed"
    )


def _left_out(rollouts: Rollouts, feedback: Feedback) -> str:
    """Why nothing counted, and what to do: the sources had no score, or the credit leaves the answers out."""
    if not bool(feedback.by_channel(rollouts.group)[1].any()):
        return f"{_reasons(feedback, Abstain, Failed)}. Mend the source"
    cut = sum(finish == "length" for finish in rollouts.finish)
    return (
        f"They were scored, but the credit leaves them out; {cut} of {len(rollouts)} were cut off by the length limit. "
        "Raise max_tokens, or mend [credit]"
    )


def _reasons(feedback: Feedback, *kinds: type[Abstain] | type[Failed]) -> str:
    """The three commonest reasons of outcomes of these kinds, with their sources."""
    reasons = Counter(
        f"{name}: {outcome.reason or 'no reason given'}"
        for name, said in feedback.outcomes.items()
        for outcome in said
        if isinstance(outcome, kinds)
    )
    return "; ".join(f"{reason} ({count} times)" for reason, count in reasons.most_common(3))


def parts(loop: Loop) -> dict[str, Any]:
    """Every part, by the name under which a checkpoint keeps it."""
    named: dict[str, Any] = {"policy": loop.policy, "prompts": loop.prompts, "optimiser": loop.optimiser}
    named["credit"] = loop.credit
    named |= dict(loop.actions) | dict(loop.judges) | dict(loop.observers)
    return named | {f"reward source {name!r}": its.source for name, its in loop.sources.items() if not its.contributed}


def stateful(loop: Loop) -> dict[str, Stateful]:
    """Those of the parts that have something to remember."""
    from rlaif_core.protocols import Stateful

    return {name: part for name, part in parts(loop).items() if isinstance(part, Stateful)}
