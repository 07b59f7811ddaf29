"""Whether a final answer is right: against a reference in the dataset, by a judge, or by a function.

Several rewards weigh this against something else (a stated confidence, an admission of ignorance, a question asked
first), so it stands by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlaif_core import Abstain, ConfigError, Judge, Outcome, Prompt, Score
from rlaif_core.errors import suggest
from rlaif_core.options import OptionGroup
from rlaif_rewards.final_answer import Taking, same, taking
from rlaif_rewards.instruments import EVEN, Opinions, Scale, by_function, by_judge, column, insist, texts

RUBRIC = (
    "Judge only whether the answer is correct. Where a reference is given, correct means that it says the same; "
    "wording, length and style do not count. Highest if it is correct, lowest if it is not or gives no answer."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correctness(OptionGroup):
    """When an answer counts as correct: `correct` is "match" (the final answer is one of the texts in the column
    `reference`, in normalised spelling, or the same number), "number" (both are read for their final number: "#### 72",
    "the answer is 72", else the last), "judge" (says at least `correct_from`, and is shown the reference where there is
    one), or a function "file.py:name" of (prompt, answer). `take` says where the final answer stands: "whole", "tag"
    (<answer>), "last_line", "number", "boxed", or a function.
    """

    correct: str = "match"
    reference: str = "reference"
    take: str = "whole"
    correct_from: float = EVEN

    def __post_init__(self) -> None:
        known = ("match", "number", "judge")
        if self.correct not in known and ":" not in self.correct:
            hint = suggest(self.correct, known)
            raise ConfigError(
                f"correct is {self.correct!r}{hint}; say {', '.join(known)}, or a function 'file.py:name'"
            )
        if not 0 < self.correct_from <= 1:
            raise ConfigError(f"correct_from is {self.correct_from:g}, but must be above 0 and at most 1")

    def checker(self, judge: Judge | None, scale: Scale) -> Opinions:
        """Tells of each answer 1 (correct), 0 (wrong), or why neither."""
        if self.correct == "judge" or ":" in self.correct:
            degrees = (
                by_judge(insist(judge, "correct"), RUBRIC, scale, reference=self.reference)
                if self.correct == "judge"
                else by_function(self.correct)
            )
            return lambda answers: [self._decided(outcome) for outcome in degrees(answers)]
        take = taking("number" if self.correct == "number" else self.take)
        read = taking("number") if self.correct == "number" else None
        return lambda answers: [self._matched(prompt, answer, take, read) for prompt, answer in answers]

    def _matched(self, prompt: Prompt, answer: str, take: Taking, read: Taking | None) -> Outcome:
        references: Sequence[str] = texts(
            column(prompt, self.reference), f"column {self.reference!r} of prompt {prompt.id!r}"
        )
        if read:
            references = [found for text in references if (found := read(text)) is not None]
        if not references:
            return Abstain(f"column {self.reference!r} holds no reference")
        final = take(answer)
        if final is None:
            return Score(0.0, "gives no final answer")
        right = any(same(final, reference) for reference in references)
        return Score(float(right), "matches the reference" if right else f"is not {references[0][:40]!r}")

    def _decided(self, outcome: Outcome) -> Outcome:
        """A degree as yes or no."""
        return (
            replace(outcome, value=float(outcome.value >= self.correct_from)) if isinstance(outcome, Score) else outcome
        )


CORRECTNESS = Correctness()
