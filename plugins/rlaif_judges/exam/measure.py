"""What can be said of a judge from its verdicts on pairs whose better answer is known. Pure functions of verdicts.

A margin is by how much the first answer of a pair is the better one: above 0, below 0, or 0 for a tie. Ties of the
judge count as half right, as if a coin had decided; pairs that are tied in truth are left out of what is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from rlaif_core import Abstain, Failed, Score, Verdict
from rlaif_core.agreement import Interval, bootstrap, cohen_kappa, krippendorff_alpha, pairwise_accuracy
from rlaif_core.calibration import Bin, Calibrator, brier, calibration_error, fit_calibrator, reliability

Margins = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Lengths:
    """How a judge deals with length: its accuracy where the longer answer is the better one, and where the shorter is;
    and how much more often it prefers the longer one than would be right."""

    longer: float | None
    shorter: float | None
    bias: float | None


@dataclass(frozen=True, slots=True)
class Examined:
    """A judge's results.

    accuracy: of its verdicts; single: of a single read in one order, on average over both orders, and None where only
    one was asked. consistent: share of the pairs of which both orders name the same answer the better;
    position_bias: how much likelier than 1/2 it is to prefer the one shown first. kappa: agreement with the truth
    beyond chance. brier, ece, bins: how honest its probabilities are. own_bias: how much more often it prefers answers
    of its own than would be right, where it is known whose they are.
    """

    judge: str
    pairs: int
    abstained: int
    failed: int
    accuracy: Interval
    single: Interval | None
    consistent: float | None
    position_bias: float | None
    kappa: float | None
    brier: float | None
    ece: float | None
    bins: tuple[Bin, ...]
    lengths: Lengths
    own_bias: float | None = None


def margins_of(verdicts: Sequence[Verdict]) -> list[float | None]:
    """The margin of each verdict on two answers, -1 to 1 of judges that score so; None where it is none."""
    return [_margin(verdict) for verdict in verdicts]


def examined(
    judge: str, verdicts: Sequence[Verdict], truth: Margins, answers: Sequence[tuple[str, str]], own: Margins = ()
) -> Examined:
    """Examine verdicts on pairs of answers whose true margins are known.

    own: 1 where the first answer of a pair is the judge's own, -1 where the second is, None or 0 where neither.
    """
    margins = margins_of(verdicts)
    said = [kind for verdict in verdicts for kind in {type(outcome) for outcome in verdict.outcomes}]
    orders = [_orders(verdict) for verdict in verdicts]
    both = [its for its in orders if its is not None]
    honest = _known(margins, truth)
    biases = [its for verdict in verdicts if (its := verdict.measured.get("position_bias")) is not None]
    return Examined(
        judge=judge,
        pairs=len(verdicts),
        abstained=said.count(Abstain),
        failed=said.count(Failed),
        accuracy=bootstrap(_accuracy, margins, truth),
        single=bootstrap(_single, orders, truth) if both else None,
        consistent=fmean(float(_sign(one) == _sign(other)) for one, other in both) if both else None,
        position_bias=fmean(biases) if biases else None,
        kappa=cohen_kappa([_sign(m) for m in margins], [_sign(t) for t in truth]),
        brier=brier(*zip(*honest, strict=True)) if honest else None,
        ece=calibration_error(*zip(*honest, strict=True)) if honest else None,
        bins=reliability(*zip(*honest, strict=True)) if honest else (),
        lengths=_lengths(margins, truth, [len(one) - len(other) for one, other in answers]),
        own_bias=_bias(margins, truth, own) if own else None,
    )


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibrator fitted to all pairs, and what it is worth on pairs that it was not fitted to."""

    calibrator: Calibrator
    ece_before: float
    ece_after: float
    brier_before: float
    brier_after: float


def calibrated(
    margins: Margins, truth: Margins, kind: Literal["platt", "isotonic"] = "platt", folds: int = 5
) -> Calibrated | None:
    """Make honest probabilities of margins; None where fewer than two pairs a fold are known.

    Exchanging the answers of a pair still exchanges the probability for its opposite.
    """
    known = _known(margins, truth)
    if len(known) < 2 * folds:
        return None
    said, outcomes = ([pair[side] for pair in known] for side in (0, 1))
    after = [0.0] * len(known)
    for fold in range(folds):
        rest = [row for row in range(len(known)) if row % folds != fold]
        fitted = fit_calibrator([said[r] for r in rest], [outcomes[r] for r in rest], kind=kind, symmetric=True)
        here = range(fold, len(known), folds)
        for row, probability in zip(here, fitted([said[row] for row in here]).tolist(), strict=True):
            after[row] = probability
    whole = fit_calibrator(said, outcomes, kind=kind, symmetric=True)
    return Calibrated(
        whole,
        calibration_error(said, outcomes),
        calibration_error(after, outcomes),
        brier(said, outcomes),
        brier(after, outcomes),
    )


def agreement(margins: Mapping[str, Margins]) -> tuple[dict[tuple[str, str], float | None], float | None]:
    """Cohen's kappa of every two judges, and Krippendorff's alpha of all of them, over which answer is the better."""
    signs = {name: [_sign(margin) for margin in its] for name, its in margins.items()}
    names = list(signs)
    kappas = {
        (one, other): cohen_kappa(signs[one], signs[other]) for at, one in enumerate(names) for other in names[at + 1 :]
    }
    alpha = krippendorff_alpha(list(zip(*signs.values(), strict=True))) if len(names) > 1 else None
    return kappas, alpha


def _known(margins: Margins, truth: Margins) -> list[tuple[float, float]]:
    """Of each pair with a verdict and a better answer the probability that the judge gives to the first one, and
    whether that is it; a margin beyond -1 or 1 is as sure as can be."""
    rows = zip(margins, truth, strict=True)
    return [(min(max((m + 1) / 2, 0.0), 1.0), float(t > 0)) for m, t in rows if m is not None and t]


def _margin(verdict: Verdict) -> float | None:
    one, other = verdict.outcomes
    if isinstance(one, Score) and isinstance(other, Score):
        return (one.value - other.value) / 2
    return None


def _orders(verdict: Verdict) -> tuple[float, float] | None:
    """The margins of the two single reads, the first answer shown first and shown second."""
    margin, bias = verdict.measured.get("margin"), verdict.measured.get("position_bias")
    return None if margin is None or bias is None else (margin + 2 * bias, margin - 2 * bias)


def _accuracy(margins: Margins, truth: Margins) -> float | None:
    return pairwise_accuracy(margins, truth, ties="half")


def _single(orders: Sequence[tuple[float, float] | None], truth: Margins) -> float | None:
    reads = [_accuracy([None if its is None else its[order] for its in orders], truth) for order in (0, 1)]
    heard = [read for read in reads if read is not None]
    return fmean(heard) if heard else None


def _lengths(margins: Margins, truth: Margins, differences: Sequence[int]) -> Lengths:
    def share(sign: int) -> float | None:
        rows = [row for row, (t, d) in enumerate(zip(truth, differences, strict=True)) if t and sign * t * d > 0]
        return _accuracy([margins[row] for row in rows], [truth[row] for row in rows])

    longer = [float(_side(difference)) for difference in differences]
    return Lengths(share(1), share(-1), _bias(margins, truth, longer))


def _bias(margins: Margins, truth: Margins, towards: Margins) -> float | None:
    """How much more often the judge prefers what `towards` points at than the truth does."""
    rows = zip(margins, truth, towards, strict=True)
    more = [side * (_side(m) - _side(t)) / 2 for m, t, side in rows if m is not None and t is not None and side]
    return fmean(more) if more else None


def _sign(margin: float | None) -> int | None:
    return None if margin is None else _side(margin)


def _side(margin: float) -> int:
    return (margin > 0) - (margin < 0)
