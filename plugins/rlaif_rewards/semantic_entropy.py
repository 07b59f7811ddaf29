"""How much the meaning of the answers to one question varies: where the model does not know, it says many things."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from rlaif_core import Abstain, ConfigError, Failed, Judge, Outcome, Rollouts, Score
from rlaif_rewards.clusters import entropy, masses
from rlaif_rewards.groups import commonness, grouped, last_turn_logp, replied
from rlaif_rewards.instruments import JUDGE_SCALE, Scale
from rlaif_rewards.likeness import ABSTAINS, EXACT, Clustered, Likeness, unclustered

Weights = Literal["count", "length", "raw"]


class SemanticEntropy:
    """1 - SE / log K for K answers to one prompt, from 0 (all say something else) to 1 (all say the same).

    SE = -sum over meanings of p log p (Kuhn et al., 2023; Farquhar et al., 2024), where `weights` says what p is: the
    share of answers ("count"), or of their probabilities under the policy, "raw" or per token ("length": the mean
    log-prob), of which a text that was drawn twice counts once. `alike` (below) says which answers mean the same.
    With `each` = "answer", an answer is given 1 + log p(its meaning) / log K instead: the mean over the group is the
    same, but who says what most say gets more, so that credits which compare siblings learn from it (count only).

    Either is multiplied by 1 - `diversity` * the share of the batch's other prompts to which the very same words were
    said, so that a policy with one answer for everybody gets 0.

    A single answer gets no opinion, nor do answers drawn without chance, which agree whatever the model knows. One that
    admits ignorance gets `abstention`, in a meaning of its own. Consistent errors look like knowledge: a myth that all
    answers repeat scores 1.
    """

    def __init__(
        self,
        likeness: Likeness = EXACT,
        weights: Weights = "count",
        each: Literal["answer", "group"] = "answer",
        diversity: float = 1.0,
        abstention: float = 0.0,
        judge: Judge | None = None,
        scale: Scale = JUDGE_SCALE,
    ) -> None:
        if each == "answer" and weights != "count":
            raise ConfigError("semantic_entropy: weights other than 'count' give one value a group; set each = 'group'")
        if not 0 <= diversity <= 1:
            raise ConfigError(f"semantic_entropy: diversity is {diversity:g}, but must be from 0 to 1")
        self.weights, self.each, self.abstention, self.diversity = weights, each, abstention, diversity
        self._cluster = likeness.clusters(judge, scale)

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        groups = grouped(rollouts)
        found = self._cluster([(rollouts.prompts[rows[0]].text, replied(rollouts, rows)) for rows in groups])
        logp = None if self.weights == "count" else last_turn_logp(rollouts, mean=self.weights == "length")
        common = commonness(rollouts)
        outcomes: dict[int, Outcome] = {}
        for rows, clustered in zip(groups, found, strict=True):
            outcomes |= zip(rows, self._group(rollouts, rows, clustered, logp, common), strict=True)
        return [outcomes[row] for row in range(len(rollouts))]

    def _group(
        self,
        rollouts: Rollouts,
        rows: Sequence[int],
        found: Clustered | Abstain | Failed,
        logp: Sequence[float] | None,
        common: Sequence[float],
    ) -> list[Outcome]:
        if none := unclustered(rollouts, rows, found):
            return [none] * len(rows)
        assert isinstance(found, Clustered)
        labels, texts = found.labels, replied(rollouts, rows)
        shares = masses(labels) if logp is None else distinct_masses(texts, labels, [logp[row] for row in rows])
        varied = entropy(shares.values()) / math.log(len(rows))
        told = f"{len(shares)} meanings among {len(rows)} answers, entropy {varied:.2f} of its most"
        outcomes: list[Outcome] = []
        for row, label in zip(rows, labels, strict=True):
            certain = 1 + math.log(shares[label]) / math.log(len(rows)) if self.each == "answer" else 1 - varied
            value = min(max(certain, 0.0), 1.0) * (1 - self.diversity * common[row])
            said = told
            if label == ABSTAINS:
                value, said = self.abstention, f"admits ignorance; {told}"
            elif common[row] and self.diversity:
                said = f"{told}; {common[row]:.0%} of the other prompts got the same words"
            outcomes.append(Score(value, said, found.cost / len(rows)))
        return outcomes


def distinct_masses(texts: Sequence[str], labels: Sequence[int], logp: Sequence[float]) -> dict[int, float]:
    """The share of each label in the probability of the different texts; one drawn twice counts once.

    Of two tokenisations of a text the more probable one counts, so that the order does not.
    """
    best: dict[tuple[str, int], float] = {}
    for text, label, its in zip(texts, labels, logp, strict=True):
        best[text, label] = max(best.get((text, label), -math.inf), its)
    return masses([label for _, label in best], list(best.values()))
