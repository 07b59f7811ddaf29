"""How several scores of one answer, of judges or of reward models, become one: pure functions of the scores.

A pessimist's ensemble is harder to please by what only some of its members like, which is what over-optimisation finds
(Coste et al. 2023, Reward model ensembles help mitigate overoptimization).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean
from typing import Literal

Combine = Literal["mean", "minimum", "soft_minimum", "uncertainty", "veto"]
Scores = Sequence[float]


def mean(scores: Scores, weights: Scores) -> float:
    """The weighted mean."""
    return fmean(scores, weights)


def minimum(scores: Scores, weights: Scores) -> float:
    """The worst that any says whose weight is not 0 (worst-case optimisation)."""
    return min(score for score, weight in zip(scores, weights, strict=True) if weight)


def soft_minimum(scores: Scores, weights: Scores, *, beta: float) -> float:
    """-beta log E[exp(-r / beta)]: from the minimum (beta to 0) to the mean (beta to infinity), and for large beta the
    mean less variance / (2 beta)."""
    lowest, total = minimum(scores, weights), math.fsum(weights)
    pairs = [(w / total, -(score - lowest) / beta) for score, w in zip(scores, weights, strict=True) if w]
    less = math.fsum(w * math.expm1(x) for w, x in pairs)  # of the sum below and 1: next to nothing for a large beta
    return lowest - beta * (math.log1p(less) if less > -0.5 else math.log(math.fsum(w * math.exp(x) for w, x in pairs)))


def uncertainty(scores: Scores, weights: Scores, *, penalty: float) -> float:
    """The mean less `penalty` times the variance between them (uncertainty-weighted optimisation)."""
    middle = fmean(scores, weights)
    return middle - penalty * fmean([(score - middle) ** 2 for score in scores], weights)


def veto(scores: Scores, weights: Scores, *, below: float) -> float:
    """The mean, unless one says less than `below`: then what that one says."""
    worst = minimum(scores, weights)
    return worst if worst < below else fmean(scores, weights)


def combiner(kind: Combine, *, beta: float, penalty: float, below: float) -> Callable[[Scores, Scores], float]:
    """The function of that name, its own parameter set."""
    functions: dict[Combine, Callable[[Scores, Scores], float]] = {
        "mean": mean,
        "minimum": minimum,
        "soft_minimum": partial(soft_minimum, beta=beta),
        "uncertainty": partial(uncertainty, penalty=penalty),
        "veto": partial(veto, below=below),
    }
    return functions[kind]


def preferred(combine: Callable[[Scores, Scores], float], scores: Scores, weights: Scores) -> float:
    """The same for a comparison, where pessimism is towards a tie: antisymmetric, and what `combine` says of the better
    answer if that is above 0.

    >>> preferred(minimum, (0.8, 0.2), (1, 1)), preferred(minimum, (0.8, -0.2), (1, 1))
    (0.2, 0.0)
    """
    opposite = [-score for score in scores]
    return max(combine(scores, weights), 0.0) - max(combine(opposite, weights), 0.0)
