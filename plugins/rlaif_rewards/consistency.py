"""Whether a model says the same: from answer to answer, from turn to turn, and sentence by sentence with its siblings.

Agreement needs no labels, and that is its danger: a policy that says one thing to everybody agrees with itself. What
counts is therefore agreement that is particular to the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rlaif_core import Abstain, ConfigError, Failed, Judge, Outcome, Rollouts, Score
from rlaif_rewards.clusters import masses
from rlaif_rewards.entailment import Related, Relation, missing, relating
from rlaif_rewards.groups import commonness, grouped, replied
from rlaif_rewards.instruments import JUDGE_SCALE, Scale
from rlaif_rewards.likeness import ABSTAINS, EXACT, Clustered, Likeness, unclustered
from rlaif_rewards.sentences import sentences

MOST = 100
"""Sentences of an answer that siblings are compared with."""


class Consistency:
    """How well an answer agrees, from 0 to 1, with what the model says otherwise.

    `across` "samples": the share of the group's answers (K of them) that say the same (`alike`, below, tells), from
    1/K to 1; times 1 - `diversity` * the share of the batch's other prompts to which the very same words were said, so
    that a policy with one answer for everybody gets 0. One that admits ignorance gets `abstention`.
    `across` "turns": 1 - the largest probability that the answer contradicts one of the model's own earlier turns (the
    structured form of Nie et al., 2021, DECODE). No opinion on a first turn.
    `across` "sentences": 1 - the mean probability, over sentences of the answer and its siblings, that a sibling
    contradicts the sentence rather than supports it (SelfCheckGPT with NLI, Manakul et al., 2023); of 1/2 beyond the
    first 100, about which nobody is asked.
    The last two ask `entailment`: an NLI checkpoint, "judge", or a function.
    """

    def __init__(
        self,
        across: Literal["samples", "turns", "sentences"] = "samples",
        likeness: Likeness = EXACT,
        diversity: float = 1.0,
        abstention: float = 0.0,
        judge: Judge | None = None,
        scale: Scale = JUDGE_SCALE,
    ) -> None:
        if not 0 <= diversity <= 1:
            raise ConfigError(f"consistency: diversity is {diversity:g}, but must be from 0 to 1")
        self.across, self.diversity, self.abstention = across, diversity, abstention
        if across == "samples":
            self._cluster = likeness.clusters(judge, scale)
        else:
            self._relate = relating(likeness.entailment, judge, scale)

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        return {"samples": self._samples, "turns": self._turns, "sentences": self._sentences}[self.across](rollouts)

    def _samples(self, rollouts: Rollouts) -> list[Outcome]:
        groups = grouped(rollouts)
        found = self._cluster([(rollouts.prompts[rows[0]].text, replied(rollouts, rows)) for rows in groups])
        common = commonness(rollouts)
        outcomes: dict[int, Outcome] = {}
        for rows, clustered in zip(groups, found, strict=True):
            its = [common[row] for row in rows]
            outcomes |= zip(rows, self._group(rollouts, rows, clustered, its), strict=True)
        return [outcomes[row] for row in range(len(rollouts))]

    def _group(
        self, rollouts: Rollouts, rows: Sequence[int], found: Clustered | Abstain | Failed, common: Sequence[float]
    ) -> list[Outcome]:
        if none := unclustered(rollouts, rows, found):
            return [none] * len(rows)
        assert isinstance(found, Clustered)
        shares, cost = masses(found.labels), found.cost / len(rows)
        outcomes: list[Outcome] = []
        for label, its in zip(found.labels, common, strict=True):
            told = f"{round(shares[label] * len(rows))} of {len(rows)} answers say the same"
            if label == ABSTAINS:
                outcomes.append(Score(self.abstention, f"admits ignorance; {told}", cost))
                continue
            if its and self.diversity:
                told += f"; {its:.0%} of the other prompts got the same words"
            outcomes.append(Score(shares[label] * (1 - self.diversity * its), told, cost))
        return outcomes

    def _turns(self, rollouts: Rollouts) -> list[Outcome]:
        before = [
            [message["content"] for message in prompt.messages if message["role"] == "assistant"]
            for prompt in rollouts.prompts
        ]
        asked = [(turn, answer) for turns, answer in zip(before, rollouts.completions, strict=True) for turn in turns]
        told = iter(self._relate(asked))
        return [_most_contradicted(turns, [next(told) for _ in turns]) for turns in before]

    def _sentences(self, rollouts: Rollouts) -> list[Outcome]:
        siblings: dict[int, list[str]] = {}
        for rows in grouped(rollouts):
            for row in rows:
                siblings[row] = [rollouts.completions[other] for other in rows if other != row]
        said = [sentences(text) for text in rollouts.completions]
        asked = [(sibling, one) for row, its in enumerate(said) for one in its[:MOST] for sibling in siblings[row]]
        told = iter(self._relate(asked))
        return [
            _supported(its, len(siblings[row]), [[next(told) for _ in siblings[row]] for _ in its[:MOST]])
            for row, its in enumerate(said)
        ]


def _most_contradicted(turns: Sequence[str], told: Sequence[Related]) -> Outcome:
    if not turns:
        return Abstain("the model has said nothing before")
    if none := missing(told):
        return none
    chances = [its.contradiction for its in told if isinstance(its, Relation)]
    worst = max(range(len(turns)), key=chances.__getitem__)
    reason = f"contradicts its turn {worst + 1} ({turns[worst][:60]!r}) with probability {chances[worst]:.2f}"
    return Score(1 - chances[worst], reason, sum(its.cost for its in told))


def contradicted(relation: Relation) -> float:
    """The probability of contradiction against entailment, neutral left aside; 1/2 where neither has any."""
    both = relation.entailment + relation.contradiction
    return relation.contradiction / both if both else 0.5


def _supported(said: Sequence[str], siblings: int, told: Sequence[Sequence[Related]]) -> Outcome:
    if not said:
        return Abstain("says nothing that could be supported")
    if not siblings:
        return Abstain("a single answer has no siblings to agree with; raise [prompts] group")
    flat = [its for row in told for its in row]
    if none := missing(flat):
        return none
    doubts = [sum(contradicted(its) for its in row if isinstance(its, Relation)) / siblings for row in told]
    worst = max(range(len(doubts)), key=doubts.__getitem__)
    reason = f"siblings contradict {said[worst][:60]!r} most, with {doubts[worst]:.2f}"
    doubt = (sum(doubts) + 0.5 * (len(said) - len(doubts))) / len(said)
    return Score(1 - doubt, reason, sum(its.cost for its in flat))
