"""Choosing among several answers by a proxy: what best-of-n and a quantiliser expect, and how far they go.

A pool is N answers drawn from the policy to one prompt, each with what a proxy says; weights are in ascending order of
that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby


def best_of_weights(pool: int, n: int) -> list[float]:
    """How probably each of `pool` ranked answers is the best of `n` drawn from them without replacement, the worst
    first: C(i-1, n-1) / C(N, n) for i = 1..N (the unbiased estimator of best-of-n; Nakano et al. 2021, WebGPT)."""
    _insist(pool, 1 <= n <= pool, f"n is {n}")
    total = math.comb(pool, n)
    return [math.comb(i - 1, n - 1) / total for i in range(1, pool + 1)]


def best_of_kl(n: int) -> float:
    """KL of best-of-n to the policy in nats, exact without ties, else an upper bound: log n - (n-1)/n."""
    return math.log(n) - (n - 1) / n


def quantile_weights(pool: int, q: float) -> list[float]:
    """How probably a quantiliser takes each of `pool` ranked answers, the worst first: uniform over the best share `q`
    (Taylor 2016, Quantilizers); the answer on the border counts for the part of it that is within.

    None is above 1/(q N), so that a cost which is never negative is expected to be at most 1/q times the policy's.
    """
    _insist(pool, 0 < q <= 1, f"q is {q:g}")
    share = max(q * pool, 1.0)
    return [max(0.0, min(1.0, share - above)) / share for above in range(pool - 1, -1, -1)]


def expected(proxy: Sequence[float], values: Sequence[float], weights: Sequence[float]) -> float:
    """What is expected of `values` where an answer's weight goes by its rank in `proxy`; ties share theirs."""
    order = sorted(range(len(proxy)), key=proxy.__getitem__)
    found, place = 0.0, 0
    for _, tied in groupby(order, key=proxy.__getitem__):
        rows = list(tied)
        share = math.fsum(weights[place : place + len(rows)]) / len(rows)
        found += share * math.fsum(values[row] for row in rows)
        place += len(rows)
    return found


def _insist(pool: int, holds: bool, what: str) -> None:
    if pool < 1 or not holds:
        raise ValueError(f"{what}, with {pool} answers in the pool; n must be from 1 to that, q above 0 and at most 1")
