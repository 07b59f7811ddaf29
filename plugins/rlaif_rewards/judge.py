"""A judge's verdict on each answer: by itself, or among all the answers to its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rlaif_core import Judge, Outcome, Question, Rollouts
from rlaif_core.verdicts import verdicts_of
from rlaif_rewards.asking import Standards, summed
from rlaif_rewards.groups import grouped


class JudgeReward:
    """What the judge says of each answer. `judge` names a [judges] table, and scores as that does (-1 to 1).

    form: "score" has each answer judged by itself, "rank" all the answers to a prompt at once; then their scores sum to
    0. Options `rubric`, `constitution`, `principles`, `seed` and `reference` say what to judge by. All questions of a
    batch are asked at once.
    """

    def __init__(
        self, judge: Judge, form: Literal["score", "rank"] = "score", standards: Standards = Standards()
    ) -> None:
        self.judge, self.form, self.standards = judge, form, standards

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        groups = grouped(rollouts) if self.form == "rank" else [[row] for row in range(len(rollouts))]
        questions, weights = [], []
        for rows in groups:
            prompt = rollouts.prompts[rows[0]]
            answers = tuple(rollouts.completions[row] for row in rows)
            for criterion in self.standards.of(prompt, rollouts.policy_version):
                weights.append((rows, criterion))
                questions.append(
                    Question(
                        prompt=prompt,
                        answers=answers,
                        form=self.form,
                        rubric=criterion.text,
                        levels=criterion.levels,
                        reference=self.standards.reference_of(prompt),
                    )
                )
        said: list[list[tuple[str, float, Outcome]]] = [[] for _ in range(len(rollouts))]
        for (rows, criterion), verdict in zip(weights, verdicts_of(self.judge, questions), strict=True):
            for row, outcome in zip(rows, verdict.outcomes, strict=True):
                said[row].append((criterion.name, criterion.weight, outcome))
        return [summed(its) for its in said]
