"""Several judges as one, and how far they are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, pstdev

from rlaif_core import Abstain, ConfigError, Failed, Judge, Outcome, Question, Score, Verdict
from rlaif_core.combining import Combine, combiner, preferred
from rlaif_core.verdicts import verdicts_of
from rlaif_judges.fused import Fused

SHOWN = 300
"""Characters of each judge's reason that become part of the ensemble's."""
COUNTS = frozenset({"calls", "tokens_in", "tokens_out"})
"""What is measured that adds up; of all else there is a mean."""


class Ensemble:
    """What the `judges` (names of [judges] tables) say together; scores keep their units, so let all use the same.

    combine: "mean", weighted by `weights` (one a judge); "minimum"; "soft_minimum" (-beta log E exp(-r / beta));
    "uncertainty" (the mean less `penalty` times the variance between them); "veto" (the mean, unless one says less than
    `below`: then that). In comparisons pessimism is towards a tie. A judge of weight 0 is asked and does not count.
    Judges that abstain are left out, and so are those that do not score every answer of a question that is scored at
    all, for siblings are compared on the same terms. Where fewer than `quorum` are heard (0: all that do not abstain)
    it has failed, or abstains if none of them has. disagreement: where the standard deviation of their scores is above
    it, it abstains (0: never). fusion: a file of `rlaif fuse`, by which two answers are compared in the
    place of `combine`; `sources` says what it calls the judges, in their order.
    """

    def __init__(
        self,
        judges: Sequence[Judge],
        combine: Combine = "mean",
        weights: Sequence[float] = (),
        beta: float = 1.0,
        penalty: float = 1.0,
        below: float = -0.5,
        quorum: int = 0,
        disagreement: float = 0.0,
        fusion: str = "",
        sources: Sequence[str] = (),
    ) -> None:
        if len(judges) < 2:
            raise ConfigError(f"judge ensemble: it has {len(judges)} judges, but must have at least 2")
        if weights and (len(weights) != len(judges) or min(weights) < 0 or not 0 < sum(weights) < math.inf):
            raise ConfigError(
                f"judge ensemble: weights are {list(weights)}; give {len(judges)}, none below 0, not all 0"
            )
        if not (0 < beta < math.inf and 0 <= penalty < math.inf and 0 <= disagreement < math.inf):
            raise ConfigError("judge ensemble: beta must be above 0, penalty and disagreement at least 0, all finite")
        if not math.isfinite(below):
            raise ConfigError(f"judge ensemble: below is {below}, but must be a finite number")
        if not 0 <= quorum <= len(judges):
            raise ConfigError(f"judge ensemble: quorum is {quorum}, but there are {len(judges)} judges")
        self._judges, self._weights = tuple(judges), tuple(weights) or (1.0,) * len(judges)
        self._voices = [place for place, weight in enumerate(self._weights) if weight]
        if quorum > len(self._voices):
            raise ConfigError(f"judge ensemble: quorum is {quorum}, but {len(self._voices)} judges have a weight")
        self._combine = combiner(combine, beta=beta, penalty=penalty, below=below)
        self._quorum, self._most = quorum, disagreement
        self._fused = Fused.load(fusion, sources, len(judges)) if fusion or sources else None

    def ask(self, questions: Sequence[Question]) -> Sequence[Verdict]:
        said = [verdicts_of(judge, questions) for judge in self._judges]
        return [self._together(question, [its[row] for its in said]) for row, question in enumerate(questions)]

    def _together(self, question: Question, verdicts: Sequence[Verdict]) -> Verdict:
        columns = list(zip(*(verdict.outcomes for verdict in verdicts), strict=True))
        outcomes = self._combined(question, columns)
        if self._fused and all(isinstance(outcome, Score) for outcome in outcomes):
            outcomes = self._fused(question, columns, outcomes)
        if question.form == "rank" and all(isinstance(outcome, Score) for outcome in outcomes):
            middle = fmean(outcome.value for outcome in outcomes if isinstance(outcome, Score))
            outcomes = [Score(o.value - middle, o.reason, o.cost) for o in outcomes if isinstance(o, Score)]
        names = dict.fromkeys(name for verdict in verdicts for name in verdict.measured)
        each = {name: [its.measured[name] for its in verdicts if name in its.measured] for name in names}
        measured = {name: math.fsum(its) if name in COUNTS else fmean(its) for name, its in each.items()}
        spreads = [pstdev(heard) for its in columns if len(heard := [o.value for o in its if isinstance(o, Score)]) > 1]
        if spreads:
            measured["spread"] = fmean(spreads)
        return Verdict(outcomes=tuple(outcomes), measured=measured)

    def _combined(self, question: Question, columns: Sequence[Sequence[Outcome]]) -> list[Outcome]:
        """What is said of each answer, by the same judges of all that are scored."""
        apart = [self._missing([column[place] for place in self._voices]) for column in columns]
        counted = [column for column, missing in zip(columns, apart, strict=True) if missing is None]
        voices = {place: _throughout([column[place] for column in counted]) for place in self._voices if counted}
        able = [place for place, said in voices.items() if isinstance(said, Score)]
        together = self._missing([*voices.values()], " on all answers") if counted else None
        outcomes: list[Outcome] = []
        for column, missing in zip(columns, apart, strict=True):
            cost = math.fsum(outcome.cost for outcome in column)
            silent = missing or together
            outcomes.append(replace(silent, cost=cost) if silent else self._one(question, column, able, cost))
        return outcomes

    def _missing(self, said: Sequence[Outcome], what: str = "") -> Abstain | Failed | None:
        """What the ensemble says where too few of its judges are heard."""
        heard = sum(isinstance(outcome, Score) for outcome in said)
        failed = [outcome for outcome in said if isinstance(outcome, Failed)]
        if failed and (heard < self._quorum or not self._quorum):
            return Failed(f"{len(failed)} of {len(self._voices)} judges failed: {failed[0].reason}")
        if heard < max(self._quorum, 1):
            reasons = "; ".join(dict.fromkeys(o.reason for o in said if isinstance(o, Abstain)))
            return Abstain(f"only {heard} of {len(self._voices)} judges have an opinion{what}: {reasons}")
        return None

    def _one(self, question: Question, column: Sequence[Outcome], able: Sequence[int], cost: float) -> Outcome:
        heard = [(its, self._weights[place]) for place in able if isinstance(its := column[place], Score)]
        scores, weights = [score.value for score, _ in heard], [weight for _, weight in heard]
        told = "; ".join(f"{score.value:+.2f}: {score.reason[:SHOWN]}" for score, _ in heard)
        if self._most and pstdev(scores) > self._most:
            return Abstain(f"the judges are {pstdev(scores):.2f} apart: {told}", cost)
        if question.form == "compare":
            return Score(preferred(self._combine, scores, weights), told, cost)
        return Score(self._combine(scores, weights), told, cost)


def _throughout(said: Sequence[Outcome]) -> Outcome:
    """A score, if there is one of every answer; else what stands in its place."""
    return next((outcome for outcome in said if not isinstance(outcome, Score)), said[0])
