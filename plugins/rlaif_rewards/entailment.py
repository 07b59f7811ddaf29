"""Whether one text follows from another or contradicts it: the instrument behind factuality, consistency and sincerity.

A checkpoint for natural language inference answers, or a judge, or a function; all give the same three probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlaif_core import Abstain, ConfigError, Failed, Judge, Score
from rlaif_core.feedback import Outcome
from rlaif_core.prompts import load_function
from rlaif_rewards.instruments import JUDGE_SCALE, Scale, by_judge, called, insist, premise, who, without
from rlaif_rewards.scorer import Scorer, load_scorer
from rlaif_rewards.words import canonical

FOLLOWS = (
    "The prompt is a passage and the answer a statement. Judge only whether the statement follows from the passage: "
    "highest if the passage says or implies it, lowest if it does not. Do not judge whether the statement is true."
)
CONTRADICTS = (
    "The prompt is a passage and the answer a statement. Judge only whether the statement contradicts the passage: "
    "highest if both cannot be true together, lowest if they can. Do not judge whether either is true."
)
LABELS = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True, slots=True)
class Relation:
    """How a hypothesis stands to a premise: probabilities from 0 to 1 that it follows, and that it is contradicted."""

    entailment: float
    contradiction: float
    cost: float = 0.0


Related = Relation | Abstain | Failed
Relate = Callable[[Sequence[tuple[str, str]]], list[Related]]
"""For each (premise, hypothesis) their relation."""


def missing(told: Sequence[Related]) -> Abstain | Failed | None:
    """Why not all of `told` are relations: the first failure, else the first abstention, at the cost of all."""
    cost = sum(its.cost for its in told)
    for kind in (Failed, Abstain):
        for its in told:
            if isinstance(its, kind):
                return kind(its.reason, cost)
    return None


def relating(named: str, judge: Judge | None = None, scale: Scale = JUDGE_SCALE, option: str = "entailment") -> Relate:
    """The instrument that an option names: "judge"; a function "file.py:name" of (premise, hypothesis) that returns
    "entailment", "neutral" or "contradiction", or a mapping from them to probabilities; or an NLI checkpoint.

    Texts without a visible character entail and contradict nothing, and nobody is asked; what is asked twice is asked
    once.
    """
    if not named:
        raise ConfigError(f"{option} is missing: name an NLI checkpoint, 'judge', or a function 'file.py:name'")
    asked = {
        "judge": lambda: _by_judge(insist(judge, option), scale),
        "function": lambda: _by_function(named),
        "model": lambda: _by_checkpoint(load_scorer(named, framing="pair"), named),
    }[who(named)]()

    def relate(pairs: Sequence[tuple[str, str]]) -> list[Related]:
        visible = {text: bool(canonical(text)) for text in {text for pair in pairs for text in pair}}
        distinct = [pair for pair in dict.fromkeys(pairs) if all(visible[text] for text in pair)]
        told: dict[tuple[str, str], Related] = dict(zip(distinct, asked(distinct) if distinct else [], strict=True))
        relations: list[Related] = []
        for pair in pairs:
            relation = told.get(pair, Relation(0.0, 0.0))
            relations.append(relation)
            told[pair] = replace(relation, cost=0.0)  # it is paid for once
        return relations

    return relate


def _by_checkpoint(scorer: Scorer, source: str) -> Relate:
    places = nli_labels(scorer.labels, source)

    def relate(pairs: Sequence[tuple[str, str]]) -> list[Related]:
        rows = scorer.probabilities(pairs)
        return [_relation(row[places["entailment"]], row[places["contradiction"]]) for row in rows]

    return relate


def nli_labels(labels: Sequence[str], source: str) -> dict[str, int]:
    """Where a checkpoint keeps "entailment", "neutral" and "contradiction", by their names, in whatever order."""
    places: dict[str, int] = {}
    for place, label in enumerate(labels):
        for name in LABELS:
            if label.lower().startswith(name[:6]):  # entailed, contradicts, Neutral
                places.setdefault(name, place)
    if len(places) < len(LABELS) or len(labels) != len(LABELS):
        raise ConfigError(
            f"{source!r} has the labels {', '.join(labels)}; inference needs {', '.join(LABELS)}: "
            "name them so in id2label of its config.json"
        )
    return places


def _relation(entailment: float, contradiction: float, cost: float = 0.0) -> Related:
    if entailment != entailment or contradiction != contradiction:
        return Failed("the inference checkpoint computed nan; its weights are at fault", cost)
    return Relation(entailment, contradiction, cost)


def _by_judge(judge: Judge, scale: Scale) -> Relate:
    """Two questions a pair; where they add up to more than 1, both are scaled down."""
    follows, contradicts = by_judge(judge, FOLLOWS, scale), by_judge(judge, CONTRADICTS, scale)

    def relate(pairs: Sequence[tuple[str, str]]) -> list[Related]:
        answers = [(premise(one), other) for one, other in pairs]
        return [_both(*its) for its in zip(follows(answers), contradicts(answers), strict=True)]

    return relate


def _both(follows: Outcome, contradicts: Outcome) -> Related:
    if none := without((follows, contradicts)):
        return none
    assert isinstance(follows, Score)
    assert isinstance(contradicts, Score)
    over = max(1.0, follows.value + contradicts.value)
    return Relation(follows.value / over, contradicts.value / over, follows.cost + contradicts.cost)


def _by_function(path: str) -> Relate:
    function = load_function(path)
    return lambda pairs: [_told(said, path) for said in called(path, function, pairs)]


def _told(said: Any, path: str) -> Related:
    if isinstance(said, Abstain | Failed):
        return said
    chances = {said: 1.0} if isinstance(said, str) else said
    if not isinstance(chances, Mapping) or not set(chances) <= set(LABELS):
        return Failed(
            f"{path} returned {str(said)[:60]!r}; it must be one of {', '.join(LABELS)}, or probabilities of them"
        )
    entailment, contradiction = (float(chances.get(name, 0.0)) for name in ("entailment", "contradiction"))
    if not (0 <= entailment <= 1 and 0 <= contradiction <= 1):
        return Failed(f"{path} returned {said!r}; probabilities are from 0 to 1")
    return Relation(entailment, contradiction)
