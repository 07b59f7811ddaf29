"""Contract checks for reward sources, judges, credit assignments and actions.

Each runs the part on awkward batches and raises `PluginError` with a sentence on the first defect; None means all is
well. What the part itself raises keeps its type and gains a note on what it was given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rlaif_core.errors import FeedbackError, PluginError, blame
from rlaif_core.feedback import Failed, Feedback, Outcome, Question, Score, Scored, Verdict, outcomes_of
from rlaif_core.offers import RewardFunction
from rlaif_core.protocols import Action, Credit, Critic, Judge, RewardSource, Sampling
from rlaif_core.testing.compare import difference, snapshot, untouched
from rlaif_core.testing.fake import FakeCritic, FakePolicy
from rlaif_core.testing.values import awkward_feedback, awkward_rollouts, make_rollouts
from rlaif_core.types import Experience, Prompt, Rollouts


def check_reward(
    source: RewardSource | RewardFunction,
    *,
    meta: Mapping[str, Any] | None = None,
    repeatable: bool = True,
    pointwise: bool = True,
    tolerance: float = 1e-5,
) -> None:
    """Check a reward source, or a `@reward` function with its default options.

    `meta` stands for the dataset columns it reads. `repeatable=False` allows chance and memory, `pointwise=False`
    allows scores that depend on the other answers of the batch. Scores within `tolerance` count as equal.
    """
    source = source.build()() if isinstance(source, RewardFunction) else source
    part = _named(source, "score")
    batches = awkward_rollouts(meta)
    first = {name: _scored(source, part, rollouts, name) for name, rollouts in batches.items()}
    plain = batches["an ordinary batch"]
    if reasons := _all_failed(first["an ordinary batch"]):
        raise PluginError(f"{part} failed on every answer of an ordinary batch: {reasons}")
    if repeatable:
        _twice(part, first, lambda name: _scored(source, part, batches[name], name), tolerance)
    if pointwise:
        rows = list(reversed(range(len(plain))))
        mirrored = _scored(source, part, plain.take(rows), "an ordinary batch in reverse order")
        alone = [_scored(source, part, plain.take([row]), "one answer by itself")[0] for row in rows]
        expected = [first["an ordinary batch"][row] for row in rows]
        for situation, said in (("when the batch is reversed", mirrored), ("when it comes alone", alone)):
            _alike(f"{part} scores the same answer differently {situation}", expected, said, tolerance)


def check_judge(judge: Judge, *, repeatable: bool = True, pointwise: bool = True, tolerance: float = 1e-5) -> None:
    """Check a judge: a verdict a question, an outcome an answer, in order; options as for `check_reward`."""
    part = _named(judge, "ask")
    prompt = Prompt(id="one", text="is it red or blue ?", meta={"answer": "red"})
    chat = Prompt(id="two", messages=({"role": "system", "content": "say yes"}, {"role": "user", "content": "is it ?"}))
    questions = [
        Question(prompt=prompt, answers=("red", "it is blue")),
        Question(prompt=chat, answers=("yes",), rubric="Be brief."),
        Question(prompt=prompt, answers=("", " ", "да 🙂", "red", "red"), rubric="Be right."),
    ]
    if list(judge.ask([])):
        raise PluginError(f"{part} returned verdicts when asked nothing")
    first = {"a list of questions": _asked(judge, part, questions)}
    if reasons := _all_failed(first["a list of questions"]):
        raise PluginError(f"{part} failed on every answer: {reasons}")
    if repeatable:
        _twice(part, first, lambda _: _asked(judge, part, questions), tolerance)
    if pointwise:
        apart = [outcome for question in questions for outcome in _asked(judge, part, [question])]
        complaint = f"{part} judges a question differently when it is asked alone"
        _alike(complaint, first["a list of questions"], apart, tolerance)


def check_credit(credit: Credit, *, critic: Critic | None = None, tolerance: float = 1e-4) -> None:
    """Check a credit assignment: channels, rows that do not count, order, memory, and what it does to its input.

    Shapes, finiteness and zeros off-mask are checked by `Experience` itself. `critic` replaces the `FakeCritic`.
    """
    part = _named(credit, "assign")
    critic = critic or FakeCritic()
    if lacking := frozenset(getattr(credit, "needs", ())) - critic.gives:
        raise PluginError(
            f"{part} needs {sorted(lacking)} of the critic; call check_credit with a critic that gives it"
        )
    for batch, rollouts in awkward_rollouts().items():
        for kind, feedback in awkward_feedback(rollouts).items():
            given = f"{batch} with {kind}"
            first = _assigned(credit, part, rollouts, feedback, critic, given)
            again = _assigned(credit, part, rollouts, feedback, critic, given)
            if path := difference(snapshot(first, "experience"), snapshot(again, "experience")):
                raise PluginError(f"{part} answers differently when asked twice about {given}: {path} changed")
    rollouts = make_rollouts([("yes", "no please"), ("it is red", "blue")])
    feedback = awkward_feedback(rollouts)["plain scores"]
    rows = list(reversed(range(len(rollouts))))
    straight = _assigned(credit, part, rollouts, feedback, critic, "an ordinary batch")
    mirrored = _assigned(credit, part, rollouts.take(rows), feedback.take(rows), critic, "a batch in reverse")
    one, other = straight.advantages["reward"][rows], mirrored.advantages["reward"]
    if not torch.allclose(one, other, atol=tolerance, rtol=tolerance):
        raise PluginError(f"{part} gives an answer another advantage when the rows come in reverse order")


def check_action(action: Action, *, prompts: Sequence[Prompt] = (), draft: bool = False) -> None:
    """Check an action with a `FakePolicy` to sample from: as the first of its chain, or on another's draft."""
    part = _named(action, "act")
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


def _named(part: object, method: str) -> str:
    """How complaints call it; refuses what cannot be called at all."""
    if isinstance(part, type):
        raise PluginError(f"{part.__name__} is a class; give an instance of it")
    if not callable(getattr(part, method, None)):
        raise PluginError(f"a {type(part).__name__} has no method {method}(); see rlaif_core.protocols")
    return f"{type(part).__name__}.{method}"


def _scored(source: RewardSource, part: str, rollouts: Rollouts, batch: str) -> tuple[Outcome, ...]:
    with blame(f"{part} on {batch}"), untouched(part, rollouts=rollouts):
        try:
            said = source.score(rollouts)
            outcomes = outcomes_of(said.outcomes if isinstance(said, Scored) else said, len(rollouts))
        except FeedbackError as error:
            raise PluginError(f"{part}: {error}") from error
        if isinstance(said, Scored):
            _check_tokens(part, said.tokens, outcomes, rollouts)
    return outcomes


def _check_tokens(part: str, tokens: Tensor, outcomes: Sequence[Outcome], rollouts: Rollouts) -> None:
    """Token scores are [B,T] f32, finite, 0 off-mask, and each row sums to its outcome."""
    if tokens.shape != rollouts.mask.shape or tokens.dtype != torch.float32:
        raise PluginError(f"{part}: token scores are {tuple(tokens.shape)} {tokens.dtype}, but must be [B,T] float32")
    if not bool(torch.isfinite(tokens).all()) or bool((tokens[~rollouts.mask] != 0).any()):
        raise PluginError(f"{part}: token scores must be finite, and 0 wherever the rollouts' mask is False")
    for row, (outcome, total) in enumerate(zip(outcomes, tokens.sum(1).tolist(), strict=True)):
        if isinstance(outcome, Score) and not math.isclose(outcome.value, total, rel_tol=1e-4, abs_tol=1e-4):
            raise PluginError(f"{part}: answer {row} scored {outcome.value}, but its token scores sum to {total}")


def _asked(judge: Judge, part: str, questions: Sequence[Question]) -> tuple[Outcome, ...]:
    with untouched(part, questions=questions):
        verdicts = judge.ask(questions)
    count = len(verdicts) if hasattr(verdicts, "__len__") else f"a {type(verdicts).__name__}"
    if count != len(questions):
        raise PluginError(
            f"{part} returned {count} verdicts for {len(questions)} questions; return a list, one a question"
        )
    outcomes: list[Outcome] = []
    for question, verdict in zip(questions, verdicts, strict=True):
        if not isinstance(verdict, Verdict):
            raise PluginError(f"{part} returned a {type(verdict).__name__}; return rl.Verdict(outcomes=(...))")
        try:
            outcomes += outcomes_of(verdict.outcomes, len(question.answers))
        except FeedbackError as error:
            raise PluginError(f"{part}: a verdict {error}") from error
    return tuple(outcomes)


def _assigned(
    credit: Credit, part: str, rollouts: Rollouts, feedback: Feedback, critic: Critic, given: str
) -> Experience:
    with blame(f"{part} on {given}"), untouched(part, rollouts=rollouts, feedback=feedback):
        experience = credit.assign(rollouts, feedback, critic)
    if not isinstance(experience, Experience):
        raise PluginError(f"{part} returned a {type(experience).__name__}; return an Experience")
    if experience.rollouts is not rollouts or experience.feedback is not feedback:
        raise PluginError(f"{part} must pass on the rollouts and feedback that it was given")
    _, counted = feedback.by_channel(rollouts.group)
    for channel in dict.fromkeys(feedback.channels.values()):
        if channel not in experience.advantages:
            raise PluginError(f"{part} gave no advantages for channel {channel!r} ({given})")
        if experience.advantages[channel].requires_grad:
            raise PluginError(f"{part} returned advantages that carry gradients; detach them")
        learnt = experience.advantages[channel][~counted] * experience.mask[~counted]
        if bool((learnt != 0).any()):
            raise PluginError(
                f"{part} gave an answer that nobody scored an advantage ({given}); leave it out by counted"
            )
    return experience


def _acted(
    action: Action, part: str, policy: FakePolicy, prompts: Sequence[Prompt], draft: Rollouts | None
) -> Rollouts:
    sampler = policy.sampler(seed=3, step=2, group=2)
    with untouched(part, prompts=prompts, draft=draft, policy=policy.state_dict()):
        rollouts = action.act(sampler, prompts, draft)
    if not isinstance(rollouts, Rollouts):
        raise PluginError(f"{part} returned a {type(rollouts).__name__}; return Rollouts")
    return rollouts


def _all_failed(outcomes: Sequence[Outcome]) -> str:
    """Why, if not one answer could be judged."""
    failed = [outcome.reason for outcome in outcomes if isinstance(outcome, Failed)]
    return "; ".join(dict.fromkeys(failed)) if len(failed) == len(outcomes) else ""


def _twice(
    part: str, first: Mapping[str, Sequence[Outcome]], ask: Callable[[str], Sequence[Outcome]], tolerance: float
) -> None:
    """Ask everything again: at once, so that chance shows, and after everything else, so that memory shows."""
    for name in first:
        once, again = ask(name), ask(name)
        _alike(f"{part} answers differently when asked the same thing twice ({name})", once, again, tolerance)
        _alike(f"{part} remembers earlier calls: its answers on {name} changed", first[name], once, tolerance)


def _alike(complaint: str, expected: Sequence[Outcome], said: Sequence[Outcome], tolerance: float) -> None:
    for row, (one, other) in enumerate(zip(expected, said, strict=True)):
        if isinstance(one, Score) and isinstance(other, Score):
            close = math.isclose(one.value, other.value, rel_tol=tolerance, abs_tol=tolerance)
        else:
            close = type(one) is type(other)
        if not close:
            raise PluginError(f"{complaint}: answer {row} got {one}, then {other}")
