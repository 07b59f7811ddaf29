"""The regressions behind linear classifiers and linear reward models, and the choice of their strength.

All are convex and without chance. `strength` is the inverse weight of the penalty: strength * sum of losses + |w|^2/2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import minimize, minimize_scalar
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from rlaif_rewards.fit.features import Matrix
from rlaif_rewards.fit.losses import Ties, cross_entropy, flips, margin, outcomes, plackett_luce, preference, swayed

Array = NDArray[np.float64]
Stages = NDArray[np.int64] | None
TRUSTING, PRIOR = 2.0, 5.0
"""Annotators are taken to be right at log-odds of 2 (88 %) until they are seen, as if 5 pairs had said so."""
LIGHT = 1e-3
"""The penalty on what weights are kept apart from, where that on weights is 1."""
HOTTEST = 100.0
"""A temperature lies between this and its inverse; where nothing is wrong the likeliest would be 0."""


def classify(
    features: Matrix, targets: Array, strength: float, *, weights: Array | None = None, noise: float = 0.0
) -> tuple[Array, Array]:
    """weight [L, D] and bias [L] for targets [N, L], by scikit-learn; of two labels the first keeps a row of zeros.

    Shared targets count as so many copies. With `noise` the likelihood is that of labels of which so many were written
    down wrongly (`losses.cross_entropy`), and it is minimised here.
    """
    count, labels = targets.shape
    weights = np.ones(count) if weights is None else weights
    if noise:
        return _denoised(features, targets, strength, weights, noise)
    rows, names = np.nonzero(targets)
    if len(set(names.tolist())) == 1:  # as may happen in a fold: how likely another one is, is all that is known
        return np.zeros((labels, features.shape[1])), np.log((targets.sum(0) + 1) / (count + labels))
    fitted = LogisticRegression(C=strength, max_iter=1000)
    fitted.fit(features[rows], names, sample_weight=weights[rows] * targets[rows, names])
    weight, bias = np.zeros((labels, features.shape[1])), np.full(labels, -30.0)
    if len(fitted.classes_) == 2:
        first, second = fitted.classes_
        weight[second], bias[first], bias[second] = fitted.coef_[0], 0.0, fitted.intercept_[0]
    else:
        weight[fitted.classes_], bias[fitted.classes_] = fitted.coef_, fitted.intercept_
    return weight, bias


def _denoised(features: Matrix, targets: Array, strength: float, weights: Array, noise: float) -> tuple[Array, Array]:
    (count, labels), width = targets.shape, features.shape[1]
    free = labels - 1 if labels == 2 else labels
    true, counts, flipped = torch.from_numpy(targets), torch.from_numpy(weights), flips(labels, noise)

    def value(flat: Array) -> tuple[float, Array]:
        w, b = flat[: free * width].reshape(free, width), flat[free * width :]
        own = np.asarray(features @ w.T) + b
        logits = torch.from_numpy(np.hstack([np.zeros((count, labels - free)), own])).requires_grad_()
        loss = strength * (counts * cross_entropy(logits, true, flipped)).sum()
        (slope,) = torch.autograd.grad(loss, logits)
        pull = slope.numpy()[:, labels - free :]
        gradient = np.hstack([(np.asarray(features.T @ pull).T + w).ravel(), pull.sum(0)])
        return loss.item() + 0.5 * float((w**2).sum()), gradient

    found = _minimum(value, np.zeros(free * (width + 1)))
    weight, bias = np.zeros((labels, width)), np.zeros(labels)
    weight[labels - free :] = found[: free * width].reshape(free, width)
    bias[labels - free :] = found[free * width :]
    return weight, bias


@dataclass(frozen=True, slots=True)
class Preferring:
    """A linear utility: weight [D], the fitted strength of ties, how often each annotator is right [A], and how much
    was to be added of what the weights are kept apart from."""

    weight: Array
    tie: float
    reliability: Array
    share: float

    def loss(
        self, differences: Array, targets: Array, annotators: NDArray[np.int64], ties: Ties, stages: Stages = None
    ) -> float:
        """The mean negative log-likelihood of differences [N] of utilities."""
        gap, true = torch.from_numpy(differences), torch.from_numpy(targets)
        if stages is not None:
            return float(plackett_luce(gap, torch.from_numpy(stages)).mean())
        return float(preference(self._said(outcomes(gap, ties=ties, strength=self.tie), annotators), true).mean())

    def _said(self, logp: Tensor, annotators: NDArray[np.int64]) -> Tensor:
        return swayed(logp, torch.from_numpy(self.reliability)[annotators]) if len(self.reliability) else logp


def prefer(
    differences: Matrix,
    targets: Array,
    strength: float,
    *,
    margins: Array,
    annotators: NDArray[np.int64],
    people: int,
    ties: Ties,
    apart: Array | None = None,
    stages: Stages = None,
) -> Preferring:
    """Utilities whose differences, differences [N, D] @ weight, make targets [N, 3] likely; see `losses`.

    The weights are orthogonal to `apart` [D], of which instead so much is added to them, at next to no penalty, as
    makes the targets likeliest. With stages [N] (`losses.plackett_luce`) the first of all pairs is the better one, and
    nothing else is looked at. The penalty identifies what comparisons leave open: where the graph of comparisons is
    not connected, each part has its mean at 0.
    """
    count = differences.shape[0]
    apart = np.zeros(differences.shape[1]) if apart is None else apart
    more = np.asarray(differences @ apart)
    known, spread_out = _condensed(_above(differences, apart) if apart.any() else differences)
    differences, width = known[:count], known.shape[1]
    free = _free_of(known[count:])
    true, lead = torch.from_numpy(targets), torch.from_numpy(margins)
    start = np.concatenate([np.zeros(width), [0.0, -0.5], np.full(people, TRUSTING)])

    def value(flat: Array) -> tuple[float, Array]:
        w, share, flat = free(flat[:width]), float(flat[width]), np.delete(flat, width)
        gaps = torch.from_numpy(np.asarray(differences @ w) + share * more).requires_grad_()
        rest = torch.from_numpy(flat[width:].copy()).requires_grad_()
        logp = outcomes(margin(gaps, true, lead), ties=ties, strength=_tie(rest[0], ties))
        if people:
            logp = swayed(logp, rest[1:].sigmoid()[annotators])
        each = preference(logp, true) if stages is None else plackett_luce(gaps, torch.from_numpy(stages))
        loss = strength * each.sum() + 0.0 * rest.sum()
        if people:  # a Beta prior at the odds of TRUSTING, as so many pairs
            right = torch.sigmoid(torch.tensor(TRUSTING, dtype=torch.float64))
            told = right * rest[1:].sigmoid().log() + (1 - right) * (-rest[1:]).sigmoid().log()
            loss = loss - strength * PRIOR * told.sum()
        pull, slope = torch.autograd.grad(loss, (gaps, rest))
        own = free(np.asarray(differences.T @ pull.numpy())) + w
        gradient = np.concatenate([own, [float(pull.numpy() @ more) + LIGHT * share], slope.numpy()])
        return loss.item() + 0.5 * float((w**2).sum() + LIGHT * share**2), gradient

    found = _minimum(value, start)
    tie = float(_tie(torch.tensor(found[width + 1]), ties))
    reliability = 1 / (1 + np.exp(-found[width + 2 :]))
    return Preferring(spread_out(free(found[:width])), tie, reliability, float(found[width]))


def _above(rows: Matrix, more: Array) -> Matrix:
    """Rows [N, D] with one more, [D], below."""
    if sparse.issparse(rows):
        return sparse.vstack([rows, sparse.csr_matrix(more[None])], format="csr")
    return np.vstack([rows, more])


def _free_of(direction: Matrix) -> Callable[[Array], Array]:
    """What makes weights [D] orthogonal to a direction [1, D] of any length; to none where it is [0, D]."""
    if not direction.shape[0]:
        return lambda weight: weight
    row = np.asarray(direction.toarray() if sparse.issparse(direction) else direction)[0]
    unit = row / np.linalg.norm(row)
    return lambda weight: weight - unit * (unit @ weight)


def _condensed(x: Matrix) -> tuple[Matrix, Callable[[Array], Array]]:
    """Rows [N, R] with the same inner products as those of x [N, D], and how weights of theirs become weights of x's.

    Under a penalty on |w|^2 the weights are a sum of rows (the representer theorem), so that of many more features
    than rows no more than R <= N directions count.
    """
    if x.shape[1] < 4 * x.shape[0]:
        return x, lambda weight: weight
    products = x @ x.T
    sizes, directions = np.linalg.eigh(products.toarray() if sparse.issparse(products) else products)
    kept = sizes > max(float(sizes[-1]), 1e-12) * 1e-12
    roots, directions = np.sqrt(sizes[kept]), directions[:, kept]
    return directions * roots, lambda weight: np.asarray(x.T @ (directions @ (weight / roots)))


def _tie(raw: Tensor, ties: Ties) -> Tensor:
    return torch.nn.functional.softplus(raw) if ties == "rao_kupper" else raw


def temperature(loss: Callable[[float], float]) -> float:
    """The T in (1/100, 100) at which `loss(T)` is least, 1 where no other is better (Guo et al. 2017)."""
    edge = np.log(HOTTEST)
    found = minimize_scalar(lambda log: loss(float(np.exp(log))), bounds=(-edge, edge), method="bounded")
    best = float(np.exp(found.x))
    return best if loss(best) < loss(1.0) else 1.0


def strongest(strengths: Sequence[float], loss: Callable[[float], float]) -> float:
    """The strength whose loss is least, the weakest of equals."""
    return min(sorted(strengths), key=loss)


def _minimum(value: Callable[[Array], tuple[float, Array]], start: Array) -> Array:
    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-12, "gtol": 1e-7}
    return np.asarray(minimize(value, start, jac=True, method="L-BFGS-B", options=options).x)
