"""Who is how reliable, and what is true, from votes alone: the EM of Dawid and Skene (1979), trusted labels fixed.

Each source answers at random, given what is true, by a confusion matrix of its own, and independently of the others.
What is true and how sources confuse it are estimated in turn, each from the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlaif_core import DataError
from rlaif_core.logistic import Array

Votes = NDArray[np.int64]
STEPS = 500
CLOSE = 1e-8
"""EM ends when a step raises the objective by less than this an item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DawidSkene:
    """`posterior` [N, K] of the K truths, `confusion` [S, K, V]: how probable each vote is of each source, given each
    truth, `prior` [K], and the objective (log-likelihood and log-priors) before every step, which never falls."""

    posterior: Array
    confusion: Array
    prior: Array
    objective: tuple[float, ...]


def dawid_skene(
    votes: Votes,
    truths: int,
    *,
    categories: int | None = None,
    trusted: Votes | None = None,
    counts: Array | None = None,
    leaning: Array | None = None,
    smoothing: float = 0.1,
    mirrored: bool = False,
) -> DawidSkene:
    """Fit `votes` [N, S] (numbers of categories, -1 for nothing said) of items that are of one of `truths` classes.

    There are `categories` of votes, as many as truths by default. `trusted` [N] fixes what is known to be true (-1
    elsewhere), `counts` [N] how often each item is there. `leaning` [V, K] says how much a vote of each category speaks
    for each truth in the first guess (by default each for its own): it decides which of the mirror images of the
    solution is found, and that a source counts as adversarial which opposes the rest. `smoothing` are votes of each
    category added to every row of a confusion matrix. `mirrored`: exchanging the answers of a pair (truths and
    categories in reverse) changes nothing; there is then no prior, and half as many numbers to learn. Deterministic;
    nothing depends on the order of items or sources.
    """
    categories = categories or truths
    _check(votes, truths, categories, trusted)
    leaning = np.eye(categories, truths) if leaning is None else leaning
    known = np.full(len(votes), -1) if trusted is None else trusted
    # Items with the same votes are one item, seen more often.
    alike, place = np.unique(np.column_stack([votes, known]), axis=0, return_inverse=True)
    count = np.bincount(place.ravel(), counts, len(alike)).astype(np.float64)
    known = alike[:, -1]
    shown = (alike[:, :-1, None] == np.arange(categories)).astype(np.float64)  # [N, S, V]
    posterior = _fixed(_guess(shown, leaning), known)
    objective: list[float] = []
    for _ in range(STEPS):
        prior, confusion = _maximise(posterior * count[:, None], shown, smoothing, mirrored)
        joint = np.log(prior) + np.einsum("nsv,skv->nk", shown, np.log(confusion))
        joint = np.where((known[:, None] >= 0) & (np.arange(truths) != known[:, None]), -np.inf, joint)
        likelihood = np.logaddexp.reduce(joint, axis=1)
        posterior = np.exp(joint - likelihood[:, None])
        added = smoothing * (np.log(confusion).sum() + (0 if mirrored else np.log(prior).sum()))
        objective.append(float(count @ likelihood + added))
        if len(objective) > 1 and objective[-1] - objective[-2] <= CLOSE * count.sum():
            break
    posterior = posterior[place.ravel()]
    return DawidSkene(posterior=posterior, confusion=confusion, prior=prior, objective=tuple(objective))


def _maximise(posterior: Array, shown: Array, smoothing: float, mirrored: bool) -> tuple[Array, Array]:
    """Prior [K] and confusion matrices [S, K, V] that are likeliest; `posterior` is times how often each item is."""
    counts = np.einsum("nk,nsv->skv", posterior, shown) + smoothing
    if mirrored:
        counts = counts + counts[:, ::-1, ::-1]
    totals = posterior.sum(0) + smoothing
    prior = np.full(posterior.shape[1], 1 / posterior.shape[1]) if mirrored else totals / totals.sum()
    return prior, counts / counts.sum(2, keepdims=True)


def _guess(shown: Array, leaning: Array) -> Array:
    """The share of an item's votes that speak for each truth [N, K]; all alike where there are none."""
    for_each = np.einsum("nsv,vk->nk", shown, leaning)
    total = for_each.sum(1, keepdims=True)
    shares: Array = np.where(total > 0, for_each / np.where(total > 0, total, 1), 1 / leaning.shape[1])
    return shares


def _fixed(posterior: Array, known: Votes) -> Array:
    return np.where(known[:, None] >= 0, np.arange(posterior.shape[1]) == known[:, None], posterior)


def _check(votes: Votes, truths: int, categories: int, trusted: Votes | None) -> None:
    if votes.ndim != 2 or not np.issubdtype(votes.dtype, np.integer) or not len(votes):
        raise DataError(f"votes {votes.shape} of {votes.dtype} must be whole numbers [items, sources], some items")
    if votes.min(initial=0) < -1 or votes.max(initial=0) >= categories:
        raise DataError(f"a vote must be from 0 to {categories - 1}, or -1 where there is none")
    if trusted is not None and (trusted.shape != votes.shape[:1] or trusted.min() < -1 or trusted.max() >= truths):
        raise DataError(f"trusted labels must be one an item, from 0 to {truths - 1}, or -1 where there is none")
