"""Who tells how far something holds of a text, from 0 to 1: a judge, a function, a classifier, or stated patterns.

Rewards that need such an opinion take any of them by one option: "judge", a path "file.py:name", or the folder or hub
id of a classifier. An opinion is an outcome like any other: a `Score` between 0 and 1, or none, with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from rlaif_core import Abstain, ConfigError, DataError, Failed, Judge, Outcome, Prompt, Question, Score
from rlaif_core.deadline import each_within
from rlaif_core.errors import blame
from rlaif_core.feedback import outcome_of
from rlaif_core.options import OptionGroup
from rlaif_core.prompts import load_function
from rlaif_core.types import HALF_CHARACTER
from rlaif_core.verdicts import verdicts_of
from rlaif_rewards.abstention import checked_patterns
from rlaif_rewards.scorer import Scorer, load_scorer

Answers = Sequence[tuple[Prompt, str]]
"""Prompts, each with one answer to it."""
Opinions = Callable[[Answers], list[Outcome]]
"""Tells how far something holds of each answer: scores from 0 to 1."""
Who = Literal["judge", "function", "model"]

TIMEOUT = 60.0
"""Seconds that a function may take for one answer."""
EVEN = 0.5
"""From here on an opinion means yes."""
ROUNDING = 1e-6
"""How far outside of its scale rounding may put a number."""


Scale = tuple[float, float]
"""The lowest and the highest score that a judge gives: they stand for 0 and 1."""
JUDGE_SCALE: Scale = (-1.0, 1.0)
"""That of judges which ask a language model."""


def who(named: str) -> Who:
    """What an option names: the judge, a function, or a model."""
    return "judge" if named == "judge" else "function" if ":" in named else "model"


def insist(judge: Judge | None, option: str) -> Judge:
    """The judge, or a ConfigError that says how to name one."""
    if judge is None:
        raise ConfigError(f"{option} = 'judge' needs a judge; name a [judges] table with judge = \"...\"")
    return judge


def by_judge(judge: Judge, rubric: str, scale: Scale = JUDGE_SCALE, *, reference: str = "") -> Opinions:
    """What the judge says by `rubric`, from its own scale to 0 to 1; a score beyond its ends has failed.

    It is shown the first text in the column `reference`, where there is one.
    """
    low, high = scale
    if not low < high:
        raise ConfigError(f"scale is {list(scale)}; give the judge's lowest score, then its highest")

    def unit(outcome: Outcome) -> Outcome:
        if not isinstance(outcome, Score):
            return outcome
        value = (outcome.value - low) / (high - low)
        if not -ROUNDING <= value <= 1 + ROUNDING:
            said = f"the judge scored {outcome.value:g}, outside of its scale {low:g} to {high:g}; set scale"
            return Failed(said, outcome.cost)
        return Score(min(max(value, 0.0), 1.0), outcome.reason, outcome.cost)

    def opinions(answers: Answers) -> list[Outcome]:
        questions = [
            Question(prompt=prompt, answers=(answer,), rubric=rubric, reference=_shown(prompt, reference))
            for prompt, answer in answers
        ]
        return [unit(verdict.outcomes[0]) for verdict in verdicts_of(judge, questions)] if questions else []

    return opinions


def _shown(prompt: Prompt, reference: str) -> str:
    found = texts(prompt.meta.get(reference), f"column {reference!r} of prompt {prompt.id!r}")
    return found[0] if found else ""


def by_function(path: str) -> Opinions:
    """What the function says of (prompt, answer): a number from 0 to 1, True, False, an outcome, or None."""
    function = load_function(path)

    def opinions(answers: Answers) -> list[Outcome]:
        return [unit_outcome(said, path) for said in called(path, function, answers)]

    return opinions


def called(path: str, function: Callable[..., Any], arguments: Sequence[Sequence[Any]]) -> list[Any]:
    """What `function` returns for each list of arguments, each in time."""
    with blame(f"function {path!r}"):
        return list(each_within(TIMEOUT, [partial(function, *its) for its in arguments]))


def unit_outcome(said: Any, path: str) -> Outcome:
    """What a function returned, which must be from 0 to 1 if it is a number."""
    with blame(f"function {path!r}"):
        outcome = outcome_of(said, 0)
    if isinstance(outcome, Score) and not 0 <= outcome.value <= 1:
        return Failed(f"{path} returned {outcome.value:g}; it must be from 0 to 1", outcome.cost)
    return outcome


def by_label(scorer: Scorer, label: str, source: str) -> Opinions:
    """The probability of a classifier's label."""
    place = label_of(scorer, label, source)

    def opinions(answers: Answers) -> list[Outcome]:
        rows = scorer.probabilities([(prompt.text, answer) for prompt, answer in answers])
        return [_chance(row[place], scorer.labels[place]) for row in rows]

    return opinions


def label_of(scorer: Scorer, label: str, source: str) -> int:
    """The place of a label; a lone one, and the second of two where one is "not" the other, need no name."""
    if label in scorer.labels:
        return scorer.labels.index(label)
    if not label and len(scorer.labels) == 1:
        return 0
    listed = ", ".join(scorer.labels)
    wrong = f"has no label {label!r}" if label else "has several labels; choose one with label"
    raise ConfigError(f"{source!r} {wrong}. Labels: {listed}")


def _chance(value: float, label: str) -> Outcome:
    if value != value:
        return Failed("the classifier computed nan; its weights are at fault")
    return Score(value, f"P({label}) is {value:.2f}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection(OptionGroup):
    """Who detects what the reward is about in an answer: `detect` is "patterns" (stated rules for English, extended by
    `patterns`, regular expressions over each sentence in lower case), "judge", a function "file.py:name" of (prompt,
    answer), or a classifier with its `label`.
    """

    detect: str = "patterns"
    patterns: tuple[str, ...] = ()
    label: str = ""

    def __post_init__(self) -> None:
        if self.detect != "patterns" and self.patterns:
            raise ConfigError("patterns are for detect = 'patterns'; drop one of the two")
        checked_patterns(self.patterns)

    def opinions(
        self, rules: Callable[[str, tuple[str, ...]], bool], rubric: str, judge: Judge | None, scale: Scale
    ) -> Opinions:
        """Who it is, ready to be asked; `rules` are the stated ones, of a text and further patterns."""
        if self.detect == "patterns":
            return lambda answers: [_by_rule(rules(answer, self.patterns)) for _, answer in answers]
        if who(self.detect) == "judge":
            return by_judge(insist(judge, "detect"), rubric, scale)
        if who(self.detect) == "function":
            return by_function(self.detect)
        return by_label(load_scorer(self.detect), self.label, self.detect)


PATTERNS = Detection()


def _by_rule(found: bool) -> Outcome:
    return Score(float(found), "by the stated patterns")


def without(outcomes: Sequence[Outcome]) -> Abstain | Failed | None:
    """Why there is no score where not all of `outcomes` are: the first failure, else the first abstention."""
    cost = sum(outcome.cost for outcome in outcomes)
    for kind in (Failed, Abstain):
        for outcome in outcomes:
            if isinstance(outcome, kind):
                return kind(outcome.reason, cost)
    return None


def premise(text: str) -> Prompt:
    """A text that something is asked about, as a prompt: never empty, and without halves of characters."""
    return Prompt(id="premise", text=HALF_CHARACTER.sub("\ufffd", text) or " ")


def column(prompt: Prompt, name: str) -> Any:
    """The value of a prompt's dataset column, which there must be."""
    if name not in prompt.meta:
        listed = ", ".join(prompt.meta) or "none"
        raise DataError(f"prompt {prompt.id!r} has no column {name!r}. Columns: {listed}")
    return prompt.meta[name]


def texts(value: Any, where: str) -> tuple[str, ...]:
    """A column's texts: one, or a list of them, numbers written out; none where it is null or holds only blanks."""
    items = [value] if isinstance(value, str | int | float) or value is None else value
    if hasattr(items, "tolist"):
        items = items.tolist()
    if not isinstance(items, list | tuple) or not all(isinstance(item, str | int | float | None) for item in items):
        raise DataError(f"{where} holds a {type(value).__name__}; it must be a text, or a list of texts")
    return tuple(str(item) for item in items if item is not None and str(item).strip())
