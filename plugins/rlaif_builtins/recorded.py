"""The scores that came with recorded answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlaif_builtins.recordings import Columns, as_list
from rlaif_core import Abstain, DataError, Outcome, Prompt, Rollouts, Score
from rlaif_core.errors import blame
from rlaif_core.feedback import outcome_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded(Columns):
    """The score recorded with each answer that `replay` took from the dataset, given the same columns.

    With `answers`, the number beside it in the list in column `scores` (null: no opinion); otherwise 1 for the chosen
    answer and 0 for the rejected one. Answers are known by their text; of two alike, the first in the group is the
    first in the row. An answer that was not recorded gets no opinion.
    """

    scores: str = "scores"

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        left: dict[int, list[tuple[str, Outcome]]] = {}
        outcomes: list[Outcome] = []
        rows = zip(rollouts.prompts, rollouts.completions, rollouts.group.tolist(), strict=True)
        for prompt, completion, group in rows:
            recordings = left.setdefault(group, self._recordings(prompt))
            place = next((n for n, (text, _) in enumerate(recordings) if text == completion), None)
            outcomes.append(Abstain("not one of the recorded answers") if place is None else recordings.pop(place)[1])
        return outcomes

    def _recordings(self, prompt: Prompt) -> list[tuple[str, Outcome]]:
        texts = self.texts(prompt)
        if not self.answers:
            good, bad = Score(1.0, f"recorded as {self.chosen}"), Score(0.0, f"recorded as {self.rejected}")
            return [(texts[0], good), (texts[1], bad)]
        scores = as_list(prompt, self.scores)
        if len(scores) != len(texts):
            raise DataError(f"prompt {prompt.id!r} has {len(texts)} answers but {len(scores)} scores")
        with blame(f"column {self.scores!r} of prompt {prompt.id!r}"):
            return [(text, _outcome(score, row)) for row, (text, score) in enumerate(zip(texts, scores, strict=True))]


def _outcome(score: Any, row: int) -> Outcome:
    if score is None:
        return Abstain("recorded without a score")
    outcome = outcome_of(score, row)
    return Score(outcome.value, f"recorded as {outcome.value:g}") if isinstance(outcome, Score) else outcome
