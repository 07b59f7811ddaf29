"""Whether an answer is as sure of itself as it is right: correctness and a proper score of the stated confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from rlaif_core import ConfigError, Judge, Outcome, Rollouts, Score
from rlaif_rewards.confidence import Rule, Stated, Unit, calibrated_value, checked_table, in_words, stated
from rlaif_rewards.correctness import CORRECTNESS, Correctness
from rlaif_rewards.instruments import JUDGE_SCALE, Scale


class Calibration:
    """1[correct] + `weight` * s, where s scores the stated confidence q, from -1 to 0: in all from -weight to 1.

    `rule` "brier" is s = -(q - 1[correct])^2, with weight 1 the reward of RLCR (Damani et al., 2025); "spherical" is
    p / sqrt(q^2 + (1 - q)^2) - 1, with p the probability given to what came true. Both are strictly proper, so the
    honest q is the best, and bounded, so that a better answer is always worth more (p^2 at accuracy p, by Brier); hence
    weights above 1, and the unbounded "log", are refused.

    q stands once in <`tag`>..</`tag`>, as a plain number in this `unit` ("fraction": 0.7; "percent": 70; with a % sign
    always percent), or, with `words`, in one of its phrases ({"i think" = 0.7}). It is read strictly: an answer whose
    confidence is missing, doubled, "nan" or out of range gets `missing`. What is left of the answer is judged by
    `correct` (below).
    """

    def __init__(
        self,
        correctness: Correctness = CORRECTNESS,
        rule: str = "brier",
        weight: float = 1.0,
        tag: str = "confidence",
        unit: Unit = "fraction",
        words: Mapping[str, float] | None = None,
        missing: float = -1.0,
        judge: Judge | None = None,
        scale: Scale = JUDGE_SCALE,
    ) -> None:
        if rule == "log":
            raise ConfigError(
                "calibration: the log score has no lower bound: beside correctness an answer of accuracy p would be "
                "worth p - H(p), which is least at p = 0.27, so a surely wrong answer pays more than a fair guess; "
                "use 'brier' or 'spherical'"
            )
        if rule not in ("brier", "spherical"):
            raise ConfigError(f"calibration: rule is {rule!r}; say 'brier' or 'spherical'")
        if not 0 < weight <= 1:
            raise ConfigError(
                f"calibration: weight is {weight:g}, but must be above 0 and at most 1: beyond, a surely wrong answer "
                "pays more than one that may be right"
            )
        if missing > 0:
            raise ConfigError(f"calibration: missing is {missing:g}; above 0, leaving the confidence out would pay")
        self.rule, self.weight, self.missing = cast(Rule, rule), weight, missing
        self.tag, self.unit, self.words = tag, unit, checked_table(words or {})
        self._checker = correctness.checker(judge, scale)

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        read = [self._stated(text) for text in rollouts.completions]
        asked = [row for row, its in enumerate(read) if isinstance(its, Stated)]
        answers = [(rollouts.prompts[row], its.rest) for row in asked if isinstance(its := read[row], Stated)]
        right = dict(zip(asked, self._checker(answers), strict=True))
        return [
            self._outcome(its.confidence, right[row]) if isinstance(its, Stated) else Score(self.missing, its)
            for row, its in enumerate(read)
        ]

    def _stated(self, text: str) -> Stated | str:
        return in_words(text, self.words) if self.words else stated(text, tag=self.tag, unit=self.unit)

    def _outcome(self, confidence: float, right: Outcome) -> Outcome:
        if not isinstance(right, Score):
            return right
        value = calibrated_value(confidence, right.value == 1, self.rule, self.weight)
        said = f"{'correct' if right.value == 1 else 'wrong'} and {confidence:.2f} sure"
        return Score(value, f"{said}; {right.reason}" if right.reason else said, right.cost)
