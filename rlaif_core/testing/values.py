"""Values made by hand for tests: rollouts of written answers, feedback, experience, and the batches of `checks`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.nn.functional import pad

from rlaif_core.errors import PluginError
from rlaif_core.feedback import Abstain, Failed, Feedback, Outcome, Score, Scored, outcomes_of
from rlaif_core.testing.fake import FakePolicy
from rlaif_core.types import Experience, Prompt, Rollouts

PROMPTS = (
    Prompt(id="one", text="is it red"),
    Prompt(id="two", messages=({"role": "system", "content": "one"}, {"role": "user", "content": "yes or no"})),
)
ANSWERS = (("yes please", "no"), ("red and green", "maybe it is blue"))


def make_rollouts(
    answers: Sequence[str | Sequence[str]] = ANSWERS,
    *,
    prompts: Sequence[Prompt | str] = (),
    meta: Mapping[str, Any] | None = None,
) -> Rollouts:
    """Rollouts of written answers, tokenised and scored by an untrained `FakePolicy`.

    `answers[i]` are the answers to prompt i; a bare text is a group of one. Without `prompts`, questions are made up,
    and `meta` becomes the dataset columns of each.
    """
    groups = [(its,) if isinstance(its, str) else tuple(its) for its in answers]
    asked = [*prompts] or [f"is it {number}" for number in range(len(groups))]
    if len(asked) != len(groups):
        raise PluginError(f"make_rollouts got {len(asked)} prompts for {len(groups)} groups of answers")
    made = [
        prompt if isinstance(prompt, Prompt) else Prompt(id=f"prompt-{number}", text=prompt, meta=meta or {})
        for number, prompt in enumerate(asked)
    ]
    return replace(FakePolicy().sampler(seed=0, step=0, group=1).recorded(made, groups), recorded=False)


def make_feedback(
    rollouts: Rollouts,
    said: Mapping[str, Sequence[Outcome] | Sequence[float] | Scored] | None = None,
    *,
    channels: Mapping[str, str] | None = None,
    weights: Mapping[str, float] | None = None,
    contributed: Collection[str] = (),
) -> Feedback:
    """Feedback of `said`, source -> B outcomes or numbers; without it, of a source "fake" that tells siblings apart."""
    said = said or {"fake": [(7 * row % 5) / 4 for row in range(len(rollouts))]}
    outcomes = {
        name: outcomes_of(its.outcomes if isinstance(its, Scored) else its, len(rollouts)) for name, its in said.items()
    }
    tokens = {name: its.tokens for name, its in said.items() if isinstance(its, Scored)}
    return Feedback(
        outcomes=outcomes,
        token_scores=tokens,
        channels=channels or {},
        weights=weights or {},
        contributed=frozenset(contributed),
    )


def make_experience(rollouts: Rollouts, feedback: Feedback | None = None) -> Experience:
    """Experience in which every chosen token carries its answer's total; the advantage is it less the group's mean."""
    feedback = feedback or make_feedback(rollouts)
    totals, counted = feedback.by_channel(rollouts.group)
    mask = rollouts.mask & counted[:, None]

    def spread(values: Tensor) -> Tensor:
        return values[:, None].expand(mask.shape).where(mask, 0.0).contiguous()

    siblings = (rollouts.group[:, None] == rollouts.group) & counted
    share = siblings.float() / siblings.sum(1, keepdim=True).clamp(min=1)
    return Experience(
        rollouts=rollouts,
        feedback=feedback,
        advantages={channel: spread(values - share @ values) for channel, values in totals.items()},
        returns={channel: spread(values) for channel, values in totals.items()},
        counted=counted,
    )


def left_padded(rollouts: Rollouts) -> Rollouts:
    """The same rollouts with their padding in front, as decoders leave it."""
    order = rollouts.attend.long().argsort(dim=1, stable=True)
    names = ("tokens", "attend", "mask", "logp")
    return replace(rollouts, **{name: getattr(rollouts, name).gather(1, order) for name in names})


def wider(rollouts: Rollouts, columns: int = 3) -> Rollouts:
    """The same rollouts with more padding behind, as longer company leaves them."""
    names = ("tokens", "attend", "mask", "logp")
    padded: dict[str, Any] = {name: pad(getattr(rollouts, name), (0, columns)) for name in names}
    if rollouts.kept is not None:
        padded["kept"] = pad(rollouts.kept, (0, 0, 0, columns), value=-1)
    return replace(rollouts, **padded)


def cut_off(rollouts: Rollouts) -> Rollouts:
    """The same answers without their end of sequence, as the length limit leaves them."""
    last = rollouts.mask & (rollouts.mask.long().cumsum(1) == rollouts.mask.sum(1, keepdim=True))
    mask = rollouts.mask & ~last
    return replace(
        rollouts,
        attend=rollouts.attend & ~last,
        mask=mask,
        logp=rollouts.logp.where(mask, 0.0),
        finish=tuple("length" for _ in rollouts.finish),
    )


def awkward_rollouts(meta: Mapping[str, Any] | None = None) -> dict[str, Rollouts]:
    """Batches as a run may meet them, under the words that complaints use for them."""
    plain = make_rollouts(meta=meta)
    chat = Prompt(
        id="chat",
        messages=({"role": "system", "content": "is it"}, {"role": "user", "content": "one or two"}),
        meta=meta or {},
    )
    return {
        "an ordinary batch": plain,
        "a single answer": make_rollouts(["yes"], meta=meta),
        "empty and blank answers": make_rollouts([("", " "), ("\n", "yes")], meta=meta),
        "answers in other scripts": make_rollouts([("да 🙂", "\u0000\ufffd"), ("是", "e\u0301")], meta=meta),
        "groups of different sizes": make_rollouts([("yes", "no", "yes"), "maybe"], meta=meta),
        "a chat prompt": make_rollouts([("yes", "no")], prompts=[chat]),
        "left-padded rows": left_padded(plain),
        "answers cut off by the length limit": cut_off(plain),
    }


def awkward_feedback(rollouts: Rollouts) -> dict[str, Feedback]:
    """Feedback as a run may meet it, under the words that complaints use for it."""
    rows = range(len(rollouts))
    scores: list[Outcome] = [Score((7 * row % 5) / 4) for row in rows]
    said: dict[str, list[Outcome]] = {
        "plain scores": scores,
        "equal scores": [Score(0.5) for _ in rows],
        "one abstention": [Abstain("cannot tell"), *scores[1:]],
        "one failure": [Failed("outage"), *scores[1:]],
        "no opinion at all": [Abstain("cannot tell") for _ in rows],
        "huge scores": [Score(1e6 * (row + 1)) for row in rows],
    }
    costs: dict[str, list[Outcome]] = {"fake": scores, "harm": [Score(row % 3) for row in rows]}
    return {
        **{name: make_feedback(rollouts, {"fake": outcomes}) for name, outcomes in said.items()},
        "a cost channel": make_feedback(rollouts, costs, channels={"harm": "cost:harm"}),
    }
