"""Several judges as one, and how far they are apart."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev

from rlaif_core import Abstain, ConfigError, Failed, Judge, Outcome, PluginError, Question, Score, Verdict
from rlaif_core.combining import Combine, combiner, preferred
from rlaif_judges.fused import Fused

SHOWN = 300
"""Characters of each judge's reason that become part of the ensemble's."""


class Ensemble:
    """What the `judges` (names of [judges] tables) say together; scores keep their units, so let all use the same.

    combine: "mean", weighted by `weights` (one a judge); "minimum"; "soft_minimum" (-beta log E exp(-r / beta));
    "uncertainty" (the mean less `penalty` times the variance between them); "veto" (the mean, unless one says less than
    `below`: then that). In comparisons pessimism is towards a tie. Judges that abstain are left out; where fewer than
    `quorum` are heard (0: all that do not abstain) it has failed. disagreement: where the standard deviation of their
    scores is above it, it abstains (0: never). fusion: a file of `rlaif fuse`, by which two answers are compared in the
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
        if weights and (len(weights) != len(judges) or min(weights) < 0 or not sum(weights) > 0):
            raise ConfigError(
                f"judge ensemble: weights are {list(weights)}; give {len(judges)}, none below 0, not all 0"
            )
        if not beta > 0 or penalty < 0 or disagreement < 0:
            raise ConfigError("judge ensemble: beta must be above 0, penalty and disagreement at least 0")
        if not 0 <= quorum <= len(judges):
            raise ConfigError(f"judge ensemble: quorum is {quorum}, but there are {len(judges)} judges")
        self._judges, self._weights = tuple(judges), tuple(weights) or (1.0,) * len(judges)
        self._combine = combiner(combine, beta=beta, penalty=penalty, below=below)
        self._quorum, self._most = quorum, disagreement
        self._fused = Fused.load(fusion, sources, len(judges)) if fusion or sources else None

    def ask(self, questions: Sequence[Question]) -> Sequence[Verdict]:
        said = [list(judge.ask(questions)) for judge in self._judges]
        for judge, its in zip(self._judges, said, strict=True):
            if len(its) != len(questions):
                whose = type(judge).__name__
                raise PluginError(
                    f"judge {whose} gave {len(its)} verdicts on {len(questions)} questions; one each is due"
                )
        return [self._together(question, [its[row] for its in said]) for row, question in enumerate(questions)]

    def _together(self, question: Question, verdicts: Sequence[Verdict]) -> Verdict:
        columns = list(zip(*(verdict.outcomes for verdict in verdicts), strict=True))
        outcomes = [self._one(question, outcomes) for outcomes in columns]
        if self._fused and all(isinstance(outcome, Score) for outcome in outcomes):
            outcomes = self._fused(question, columns, outcomes)
        if question.form == "rank" and all(isinstance(outcome, Score) for outcome in outcomes):
            middle = fmean(outcome.value for outcome in outcomes if isinstance(outcome, Score))
            outcomes = [Score(o.value - middle, o.reason, o.cost) for o in outcomes if isinstance(o, Score)]
        names = dict.fromkeys(name for verdict in verdicts for name in verdict.measured)
        measured = {name: fmean(its.measured[name] for its in verdicts if name in its.measured) for name in names}
        spreads = [pstdev(heard) for its in columns if len(heard := [o.value for o in its if isinstance(o, Score)]) > 1]
        if spreads:
            measured["spread"] = fmean(spreads)
        return Verdict(outcomes=tuple(outcomes), measured=measured)

    def _one(self, question: Question, outcomes: Sequence[Outcome]) -> Outcome:
        cost = sum(outcome.cost for outcome in outcomes)
        heard = [(o, w) for o, w in zip(outcomes, self._weights, strict=True) if isinstance(o, Score)]
        failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
        if (failed and not self._quorum) or (failed and len(heard) < self._quorum):
            return Failed(f"{len(failed)} of {len(outcomes)} judges failed: {failed[0].reason}", cost)
        if not heard or len(heard) < self._quorum or not sum(weight for _, weight in heard) > 0:
            reasons = "; ".join(o.reason for o in outcomes if isinstance(o, Abstain))
            return Abstain(f"only {len(heard)} of {len(outcomes)} judges have an opinion: {reasons}", cost)
        scores, weights = [score.value for score, _ in heard], [weight for _, weight in heard]
        told = "; ".join(f"{score.value:+.2f}: {score.reason[:SHOWN]}" for score, _ in heard)
        if self._most and pstdev(scores) > self._most:
            return Abstain(f"the judges are {pstdev(scores):.2f} apart: {told}", cost)
        if question.form == "compare":
            return Score(preferred(self._combine, scores, weights), told, cost)
        return Score(self._combine(scores, weights), told, cost)
