"""Whether an answer asks back when, and only when, it is worth asking: by the value of what the reply would tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from rlaif_core import ConfigError, DataError, Judge, Outcome, Prompt, Rollouts, Score
from rlaif_rewards.correctness import CORRECTNESS, Correctness
from rlaif_rewards.instruments import (
    EVEN,
    JUDGE_SCALE,
    PATTERNS,
    Answers,
    Detection,
    Opinions,
    Scale,
    by_function,
    by_judge,
    by_label,
    column,
    insist,
    premise,
    texts,
    who,
    without,
)
from rlaif_rewards.likeness import spelling
from rlaif_rewards.questions import asks_back
from rlaif_rewards.scorer import load_scorer

ASKS = (
    "Judge only whether the answer asks the user a question whose reply it needs before it can answer, instead of "
    "answering. A rhetorical question, or an offer behind an answer, is none. Highest if it asks so, lowest if not."
)
AMBIGUOUS = (
    "The answer repeats the prompt: judge the prompt alone. Is it ambiguous or does it lack something, so that a good "
    "answer would need to ask back first? Highest if it surely does, lowest if it is clear."
)


class Clarification:
    """What asking back is worth: the value of the reply's information less `cost` for every question asked.

    `outcome` "question" rewards an answer that asks by that value at once, which is 2 * (1 - p) if p is the probability
    of the likeliest reading and a right guess is worth 1, a wrong one -1 (Rao & Daume, 2018): to ask pays if the cost
    is below it. `ambiguity` says how it is known: a column, with the readings' probabilities (a list; readings
    whose entries in the column `readings` are one answer count as one, so that asking is worth nothing), or a number
    on the scale `grades` for that value itself, or true or false for its ends; or "judge", a function "file.py:name" of
    (prompt, prompt's text) from 0 to 1, or, with `ambiguous_label`, a classifier. Once the user has replied to a
    question, another one is worth nothing.
    `outcome` "answer" waits for what comes of it, for conversations that go on (action `converse`): 1 where the last
    answer is correct (`correct`, below), -1 where it is wrong, 0 where it still asks (Zhang et al., 2025).

    Each question in the model's own turns costs `cost`, the earlier ones too. `detect` (below) tells who asks.
    """

    def __init__(
        self,
        outcome: Literal["question", "answer"] = "question",
        ambiguity: str = "ambiguity",
        ambiguous_label: str = "",
        readings: str = "",
        grades: tuple[float, float] = (0.0, 1.0),
        cost: float = 0.2,
        detection: Detection = PATTERNS,
        correctness: Correctness = CORRECTNESS,
        judge: Judge | None = None,
        scale: Scale = JUDGE_SCALE,
    ) -> None:
        if not 0 <= cost < math.inf:
            raise ConfigError(f"clarification: cost is {cost:g}, but must be at least 0 and finite")
        if not grades[0] < grades[1]:
            raise ConfigError(f"clarification: grades are {list(grades)}; give the grade of clear, then of ambiguous")
        self.cost, self.ambiguity, self.readings, self.grades = cost, ambiguity, readings, grades
        self._asks = detection.opinions(lambda text, extra: bool(asks_back(text, extra)), ASKS, judge, scale)
        self._degree = self._degrees(ambiguous_label, judge, scale) if outcome == "question" else None
        self._checker = correctness.checker(judge, scale) if outcome == "answer" else None

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        answers = list(zip(rollouts.prompts, rollouts.completions, strict=True))
        before = [earlier_turns(prompt) for prompt, _ in answers]
        told = iter(self._asks([*answers, *(pair for pairs in before for pair in pairs)]))
        now = [next(told) for _ in answers]
        earlier = [[next(told) for _ in pairs] for pairs in before]
        rows = [row for row, its in enumerate(now) if not without([its, *earlier[row]])]
        judged = [row for row in rows if self._due(now[row])]
        found = dict(zip(judged, self._worth([answers[row] for row in judged]), strict=True))
        return [
            without([its, *earlier[row]]) or self._outcome(its, earlier[row], found.get(row))
            for row, its in enumerate(now)
        ]

    def _due(self, asks: Outcome) -> bool:
        """Whether the value of what the answer does has to be found out."""
        return _yes(asks) if self._checker is None else not _yes(asks)

    def _worth(self, answers: Answers) -> list[Outcome]:
        """The value of the reply's information from 0 to 2; or, waiting for the outcome, 1 or 0 for right or wrong."""
        if self._checker is not None:
            return self._checker(answers)
        if self._degree is not None:
            return self._degree([(prompt, prompt.text) for prompt, _ in answers])
        return [self._in_column(prompt) for prompt, _ in answers]

    def _degrees(self, label: str, judge: Judge | None, scale: Scale) -> Opinions | None:
        """Who tells how ambiguous a prompt is; None: a column does."""
        if self.ambiguity == "judge":
            return by_judge(insist(judge, "ambiguity"), AMBIGUOUS, scale)
        if label:
            return by_label(load_scorer(self.ambiguity), label, self.ambiguity)
        return by_function(self.ambiguity) if who(self.ambiguity) == "function" else None

    def _in_column(self, prompt: Prompt) -> Outcome:
        value = column(prompt, self.ambiguity)
        where = f"column {self.ambiguity!r} of prompt {prompt.id!r}"
        if hasattr(value, "tolist"):
            value = value.tolist()
        if isinstance(value, list | tuple):
            same = column(prompt, self.readings) if self.readings else None
            answers = None if same is None else texts(same, f"column {self.readings!r} of prompt {prompt.id!r}")
            worth = value_of_asking(_probabilities(value, where), answers)
            return Score(worth, f"asking is worth {worth:.2f}")
        if isinstance(value, bool):
            return Score(float(value), "ambiguous" if value else "clear")
        low, high = self.grades
        grade = _number(value, where)
        if not low <= grade <= high:
            raise DataError(f"{where} holds {value!r}, outside of grades {low:g} to {high:g}")
        return Score((grade - low) / (high - low), f"graded {grade:g} of {high:g}")

    def _outcome(self, asks: Outcome, earlier: Sequence[Outcome], found: Outcome | None) -> Outcome:
        asked = sum(map(_yes, earlier))
        count = asked + _yes(asks)
        spent = sum(its.cost for its in (asks, *earlier, *([found] if found else [])))
        told = f"; {count} question{'s' if count > 1 else ''} asked" if count else ""
        if found is not None and not isinstance(found, Score):
            return found
        if self._checker is not None:
            value = 0.0 if found is None else 2 * found.value - 1
            said = "still asks" if found is None else "correct in the end" if found.value == 1 else "wrong in the end"
        elif found is None:
            value, said = 0.0, "does not ask"
        elif asked:
            value, said = 0.0, "asks again, after the user has replied"
        else:
            value, said = found.value, f"asks: {found.reason}"
        return Score(value - self.cost * count, said + told, spent)


def _yes(opinion: Outcome) -> bool:
    return isinstance(opinion, Score) and opinion.value >= EVEN


def earlier_turns(prompt: Prompt) -> list[tuple[Prompt, str]]:
    """The model's own turns in a conversation, each with what the user had said before it."""
    turns, heard = [], ""
    for message in prompt.messages:
        if message["role"] == "assistant":
            turns.append((premise(heard), message["content"]))
        else:
            heard = message["content"]
    return turns


def value_of_asking(probabilities: Sequence[float], answers: Sequence[str] | None = None) -> float:
    """2 * (1 - p), from 0 to 2, with p the largest probability of a reading: what it is worth to know the right one.

    The expected value of perfect information where a right guess is worth 1 and a wrong one -1. Readings with the same
    answer are one; the probabilities need not sum to 1.
    """
    if answers is not None and len(answers) != len(probabilities):
        raise DataError(f"{len(probabilities)} readings have {len(answers)} answers; give each its own")
    total: dict[object, float] = {}
    for place, its in enumerate(probabilities):
        key = place if answers is None else spelling(answers[place])
        total[key] = total.get(key, 0.0) + its
    return max(0.0, 2 * (1 - max(total.values()) / sum(total.values())))


def _probabilities(values: Sequence[Any], where: str) -> list[float]:
    found = [_number(value, where) for value in values]
    if not found or min(found) < 0 or sum(found) <= 0:
        raise DataError(f"{where} holds {values!r}; give the readings' probabilities, none below 0 and not all 0")
    return found


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where} holds {value!r}; it must be true or false, a number, or a list of probabilities")
    return number
