"""An action that presses a proxy only so hard: of the sampled answers one at random out of the best share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from rlaif_core import ConfigError, Failed, FeedbackError, Judge, Outcome, Prompt, Question, Rollouts, Sampler, Score
from rlaif_core.verdicts import verdicts_of
from rlaif_guards.selection import quantile_weights


class Quantilise:
    """Behind `sample`: cuts the answers to each prompt into `keep` sets of equal size, and of each set keeps one, drawn
    at random from the best share `q` by what the judge says (Taylor 2016, Quantilizers). Whatever harm the judge does
    not see is at most 1/q times what it is in the policy. q = 1/n keeps the best of a set of n, q = 1 any.

    judge: a [judges] table. Answers that it has no score for come last; where it failed and has scored none of a set,
    the run stops, for what is kept would be anybody's choice. What is kept was chosen and not drawn, and is
    marked as recorded; the choice depends on `seed`, the prompt and the state of the policy alone.
    """

    def __init__(self, judge: Judge, q: float = 0.25, keep: int = 1, seed: int = 0) -> None:
        if not 0 < q <= 1 or keep < 1:
            raise ConfigError(f"quantilise: q is {q:g}, keep {keep}; q must be above 0 and at most 1, keep at least 1")
        self._judge, self._q, self._keep, self._seed = judge, q, keep, seed

    def act(self, sampler: Sampler, prompts: Sequence[Prompt], draft: Rollouts | None) -> Rollouts:
        if draft is None:
            raise ConfigError("quantilise chooses among answers; put it behind 'sample' in [[actions]]")
        said = self._said(draft)
        groups: dict[int, list[int]] = {}
        for row, label in enumerate(draft.group.tolist()):
            groups.setdefault(label, []).append(row)
        kept = []
        for rows in groups.values():
            if len(rows) % self._keep:
                raise ConfigError(
                    f"quantilise: {len(rows)} answers to a prompt cannot be cut into {self._keep} equal sets; let "
                    "[prompts] group be a multiple of keep"
                )
            random = Random(f"{self._seed}/{draft.policy_version}/{draft.prompts[rows[0]].id}")
            kept += [self._drawn(rows[start :: self._keep], said, random) for start in range(self._keep)]
        return replace(draft.take(kept), recorded=True)

    def _drawn(self, rows: Sequence[int], said: Sequence[Outcome], random: Random) -> int:
        scores = {row: its.value for row in rows if isinstance(its := said[row], Score)}
        if not scores and (failed := [its for row in rows if isinstance(its := said[row], Failed)]):
            raise FeedbackError(f"quantilise: the judge scored none of {len(rows)} answers: {failed[0].reason}")
        order = sorted(rows, key=lambda row: (scores.get(row, float("-inf")), random.random()))
        return random.choices(order, quantile_weights(len(order), self._q))[0]

    def _said(self, draft: Rollouts) -> list[Outcome]:
        pairs = zip(draft.prompts, draft.completions, strict=True)
        questions = [Question(prompt=prompt, answers=(answer,)) for prompt, answer in pairs]
        return [verdict.outcomes[0] for verdict in verdicts_of(self._judge, questions)]
