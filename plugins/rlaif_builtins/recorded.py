"""The scores that came with recorded answers."""

from __future__ import annotations

from collections.abc import Sequence

from rlaif_core import Abstain, Outcome, Rollouts
from rlaif_core.recordings import Recording, recordings


class Recorded:
    """The score recorded with each answer that `replay` took from the dataset: 1 for a chosen answer and 0 for a
    rejected one, or its label or number; without any, no opinion.

    Answers are known by their text; of two alike, the first in the group is the first in the row. An answer that was
    not recorded gets no opinion.
    """

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        left: dict[int, list[Recording]] = {}
        outcomes: list[Outcome] = []
        for prompt, completion, group in zip(
            rollouts.prompts, rollouts.completions, rollouts.group.tolist(), strict=True
        ):
            if group not in left:
                left[group] = list(recordings(prompt))
            its = left[group]
            place = next((place for place, recording in enumerate(its) if recording.text == completion), None)
            outcomes.append(Abstain("not one of the recorded answers") if place is None else its.pop(place).outcome)
        return outcomes
