"""How often an answer is preferred to others: to its siblings, or to one that the dataset holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rlaif_core import (
    Abstain,
    ConfigError,
    DataError,
    Failed,
    Judge,
    Outcome,
    Prompt,
    Question,
    Rollouts,
    Score,
    Verdict,
)
from rlaif_core.rubric import Criterion
from rlaif_core.verdicts import verdicts_of
from rlaif_rewards.asking import Standards, summed
from rlaif_rewards.groups import grouped

Pair = tuple[int, int | None]
"""Rows of the two answers that are compared; None: the one in the dataset."""


Judged = tuple[Criterion, Verdict]
"""What a pair was compared by, and what was said."""


class PreferenceReward:
    """Half the mean difference between an answer's score and its opponents', as the judge compares them: -1 to 1 with
    judges that score from -1 to 1; with language models 2 P(preferred) - 1.

    opponents: how many of its siblings an answer meets, at least (0: all of them); chosen in a circle, so that each
    meets as many. against: a column of the dataset with an answer that each is compared with in the place of siblings.
    Where a comparison failed both answers have failed; where the judge abstains (by any of several criteria), it does
    not count. Options `rubric`, `constitution`, `principles`, `seed` and `reference` say what to judge by.
    """

    def __init__(self, judge: Judge, opponents: int = 0, against: str = "", standards: Standards = Standards()) -> None:
        if opponents < 0:
            raise ConfigError(f"preference: opponents is {opponents}, but must be at least 0")
        if against and opponents:
            raise ConfigError("preference: opponents are siblings; drop it, or drop against")
        self.judge, self.opponents, self.against, self.standards = judge, opponents, against, standards

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        pairs: list[tuple[Pair, Criterion]] = []
        questions: list[Question] = []
        for pair in self._pairs(rollouts):
            prompt = rollouts.prompts[pair[0]]
            for criterion in self.standards.of(prompt, rollouts.policy_version):
                pairs.append((pair, criterion))
                questions.append(
                    Question(
                        prompt=prompt,
                        answers=(rollouts.completions[pair[0]], self._other(rollouts, pair)),
                        form="compare",
                        rubric=criterion.text,
                        reference=self.standards.reference_of(prompt),
                    )
                )
        met: dict[Pair, list[Judged]] = {}
        for (pair, criterion), verdict in zip(pairs, verdicts_of(self.judge, questions), strict=True):
            met.setdefault(pair, []).append((criterion, verdict))
        said: list[list[Outcome]] = [[] for _ in range(len(rollouts))]
        for (one, other), its in met.items():
            said[one].append(_side(its, 0, alone=other is None))
            if other is not None:
                said[other].append(_side(its, 1))
        return [_mean(its) for its in said]

    def _pairs(self, rollouts: Rollouts) -> Iterator[Pair]:
        if self.against:
            yield from ((row, None) for row in range(len(rollouts)))
            return
        for rows in grouped(rollouts):
            count = len(rows)
            furthest = min(math.ceil(self.opponents / 2) or count, count // 2)
            for distance in range(1, furthest + 1):
                # At half the circle both ends of a pair are each other's opponent.
                ends = count // 2 if 2 * distance == count else count
                yield from ((rows[at], rows[(at + distance) % count]) for at in range(ends))

    def _other(self, rollouts: Rollouts, pair: Pair) -> str:
        return _recorded(rollouts.prompts[pair[0]], self.against) if pair[1] is None else rollouts.completions[pair[1]]


def _recorded(prompt: Prompt, name: str) -> str:
    value = prompt.meta.get(name)
    if not isinstance(value, str) or not value:
        there = ", ".join(map(str, prompt.meta)) or "none besides the prompt"
        raise DataError(f"prompt {prompt.id!r}: column {name!r} holds no answer to compare with; columns: {there}")
    return value


def _side(judged: Sequence[Judged], place: int, *, alone: bool = False) -> Outcome:
    """What a comparison says of the answer at `place`, by all criteria. alone: its opponent, which the dataset holds,
    has no outcome that could bear its share of the cost."""
    said = []
    for criterion, verdict in judged:
        mine, theirs = verdict.outcomes[place], verdict.outcomes[1 - place]
        cost = mine.cost + theirs.cost if alone else mine.cost
        said.append((criterion.name, criterion.weight, _difference(mine, theirs, cost)))
    return summed(said)


def _difference(mine: Outcome, theirs: Outcome, cost: float) -> Outcome:
    if isinstance(mine, Score) and isinstance(theirs, Score):
        return Score((mine.value - theirs.value) / 2, mine.reason, cost)
    missing = [its for its in (mine, theirs) if isinstance(its, Abstain | Failed)]
    worst = next((its for its in missing if isinstance(its, Failed)), missing[0])
    return type(worst)(worst.reason, cost)


def _mean(said: Sequence[Outcome]) -> Outcome:
    cost = math.fsum(outcome.cost for outcome in said)
    if failed := [outcome for outcome in said if isinstance(outcome, Failed)]:
        return Failed(f"{len(failed)} of {len(said)} comparisons failed: {failed[0].reason}", cost)
    scores = [outcome for outcome in said if isinstance(outcome, Score)]
    if not scores:
        why = said[0].reason if said else "there is no other answer to compare it with"
        return Abstain(f"no comparison counts: {why}", cost)
    value = math.fsum(score.value for score in scores) / len(scores)
    won, lost = (sum(sign * score.value > 0 for score in scores) for sign in (1, -1))
    told = scores[0].reason if len(scores) == 1 else f"{won} won, {lost} lost of {len(scores)}"
    return Score(value, told, cost)
