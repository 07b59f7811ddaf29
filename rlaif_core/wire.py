"""`Experience` to plain state and back: how a half-used batch of rollouts crosses into a checkpoint.

The columns of the dataset stay behind: they may hold anything, and a resumed run has read them again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rlaif_core.feedback import Abstain, Failed, Feedback, Outcome, Score
from rlaif_core.types import Experience, Prompt, Rollouts

if TYPE_CHECKING:
    from rlaif_core.protocols import State

_KINDS: dict[str, type[Score] | type[Abstain] | type[Failed]] = {"score": Score, "abstain": Abstain, "failed": Failed}
_TENSORS = ("tokens", "attend", "mask", "logp", "group", "kept")
_PLAIN = ("completions", "finish", "policy_version", "temperature", "recorded")


def to_state(experience: Experience) -> State:
    """Tensors, numbers, texts, dicts and lists only."""
    rollouts, feedback = experience.rollouts, experience.feedback
    return {
        "rollouts": {name: getattr(rollouts, name) for name in (*_TENSORS, *_PLAIN)}
        | {"prompts": [_prompt(prompt) for prompt in rollouts.prompts], "decisions": dict(rollouts.decisions)},
        "feedback": {
            "outcomes": {name: [_said(outcome) for outcome in said] for name, said in feedback.outcomes.items()},
            "token_scores": dict(feedback.token_scores),
            "weights": dict(feedback.weights),
            "channels": dict(feedback.channels),
            "contributed": sorted(feedback.contributed),
        },
        "advantages": dict(experience.advantages),
        "returns": dict(experience.returns),
        "focus": dict(experience.focus),
        "counted": experience.counted,
    }


def from_state(state: State, device: Any, known: Iterable[Prompt]) -> Experience:
    """The experience again, its tensors on `device`, its prompts with the columns of the `known` ones of their ids."""
    meta = {prompt.id: prompt.meta for prompt in known}

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: placed(item) for name, item in value.items()}
        return value.to(device) if hasattr(value, "to") else value

    rollouts, feedback = placed(state["rollouts"]), placed(state["feedback"])
    said = {name: tuple(_outcome(item) for item in items) for name, items in feedback["outcomes"].items()}
    prompts = tuple(Prompt(**prompt, meta=meta.get(prompt["id"], {})) for prompt in rollouts["prompts"])
    return Experience(
        rollouts=Rollouts(**{**rollouts, "prompts": prompts}),
        feedback=Feedback(**{**feedback, "outcomes": said, "contributed": frozenset(feedback["contributed"])}),
        **{name: placed(state[name]) for name in ("advantages", "returns", "focus", "counted")},
    )


def _prompt(prompt: Prompt) -> dict[str, Any]:
    messages = [dict(message) for message in prompt.messages]
    return {"id": prompt.id, "text": prompt.text, "messages": messages}


def _said(outcome: Outcome) -> list[Any]:
    kind = next(name for name, its in _KINDS.items() if isinstance(outcome, its))
    return [kind, getattr(outcome, "value", None), outcome.reason, outcome.cost, getattr(outcome, "unshaped", None)]


def _outcome(item: list[Any]) -> Outcome:
    kind, value, reason, cost, unshaped = item
    return Score(value, reason, cost, unshaped) if kind == "score" else _KINDS[kind](reason, cost)
