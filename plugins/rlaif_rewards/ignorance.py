"""Whether an answer admits ignorance where it would be wrong: to be right is best, to be wrong is worst."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from rlaif_core import ConfigError, DataError, Judge, Outcome, Prompt, Rollouts, Score
from rlaif_rewards.abstention import IGNORANCE, REFUSALS, stand
from rlaif_rewards.correctness import CORRECTNESS, Correctness
from rlaif_rewards.groups import grouped
from rlaif_rewards.instruments import EVEN, JUDGE_SCALE, PATTERNS, Detection, Scale, column

Said = Literal["correct", "abstains", "wrong"]
RUBRIC = (
    "Judge only whether the answer admits that it does not know, or declines to answer, without giving an answer as "
    "well. Highest if it does, lowest if it claims anything, however carefully."
)


class Ignorance:
    """1 for a correct answer, 0 for one that admits ignorance or declines, -t / (1 - t) for a wrong one.

    t is `threshold`: to answer pays exactly where the answer is right with a probability above t (Kalai et al., 2025);
    1/2 is the ternary reward of TruthRL. To abstain costs `over` where the question could be answered, which lowers the
    break-even to t - over * (1 - t). `answerable` names a column of true and false: what cannot be answered is worth 1
    to abstain from, and any claim is wrong. Unset, everything can be answered.

    `detect` (below) tells who abstains: "I do not know, but it is Paris" claims Paris, and what else is said beside an
    admission, courtesies aside, is a claim. `correct` tells whether claims are right.
    """

    def __init__(
        self,
        correctness: Correctness = CORRECTNESS,
        detection: Detection = PATTERNS,
        threshold: float = 0.5,
        over: float = 0.0,
        answerable: str = "",
        judge: Judge | None = None,
        scale: Scale = JUDGE_SCALE,
    ) -> None:
        if not 0 < threshold < 1:
            raise ConfigError(f"ignorance: threshold is {threshold:g}, but must be between 0 and 1")
        if not 0 <= over < wrong_value(threshold) * -1:
            raise ConfigError(
                f"ignorance: over is {over:g}, but must be at least 0 and below {-wrong_value(threshold):g}: "
                "to abstain must not cost as much as to be wrong"
            )
        self.threshold, self.over, self.answerable = threshold, over, answerable
        self._abstains = detection.opinions(_abstains, RUBRIC, judge, scale)
        self._checker = correctness.checker(judge, scale)

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        answers = list(zip(rollouts.prompts, rollouts.completions, strict=True))
        able = [self._answerable(prompt) for prompt, _ in answers]
        abstains = self._abstains(answers)
        claims = [row for row, its in enumerate(abstains) if isinstance(its, Score) and its.value < EVEN and able[row]]
        right = dict(zip(claims, self._checker([answers[row] for row in claims]), strict=True))
        outcomes: list[Outcome] = []
        said: list[Said | None] = []
        for row, its in enumerate(abstains):
            its, what = self._outcome(its, able[row], right.get(row))
            outcomes.append(its)
            said.append(what)
        return _with_rates(rollouts, outcomes, said)

    def _answerable(self, prompt: Prompt) -> bool:
        value = column(prompt, self.answerable) if self.answerable else True
        if value is not None and not isinstance(value, bool):
            raise DataError(
                f"column {self.answerable!r} of prompt {prompt.id!r} holds {value!r}; it must be true or false"
            )
        return value is not False

    def _outcome(self, abstains: Outcome, able: bool, right: Outcome | None) -> tuple[Outcome, Said | None]:
        if not isinstance(abstains, Score):
            return abstains, None
        if abstains.value >= EVEN:
            if not able:
                return Score(1.0, "rightly abstains: this cannot be answered", abstains.cost), "abstains"
            return Score(-self.over, "abstains", abstains.cost), "abstains"
        if not able:
            return Score(wrong_value(self.threshold), "claims to know what cannot be answered", abstains.cost), "wrong"
        if not isinstance(right, Score):
            assert right is not None
            return right, None
        cost = abstains.cost + right.cost
        if right.value == 1:
            return Score(1.0, f"correct: {right.reason}" if right.reason else "correct", cost), "correct"
        reason = f"wrong: {right.reason}" if right.reason else "wrong"
        return Score(wrong_value(self.threshold), reason, cost), "wrong"


def _abstains(text: str, extra: tuple[str, ...]) -> bool:
    return stand(text, IGNORANCE + REFUSALS + extra) == "abstains"


def wrong_value(threshold: float) -> float:
    """-t / (1 - t): what a wrong answer is worth so that answering breaks even with abstaining at accuracy t."""
    return -threshold / (1 - threshold)


def _with_rates(rollouts: Rollouts, outcomes: Sequence[Outcome], said: Sequence[Said | None]) -> list[Outcome]:
    """The outcomes, each score's reason with how the group as a whole fared."""
    told = list(outcomes)
    for rows in grouped(rollouts):
        counts = Counter(said[row] for row in rows)
        rates = ", ".join(f"{counts[what]} {what}" for what in ("correct", "abstains", "wrong") if counts[what])
        for row in rows:
            outcome = outcomes[row]
            if isinstance(outcome, Score) and len(rows) > 1:
                told[row] = Score(outcome.value, f"{outcome.reason}; of {len(rows)}: {rates}", outcome.cost)
    return told
