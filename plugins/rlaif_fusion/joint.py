"""One latent preference a pair, seen by every source through a calibration of its own: how sharply it sees, and how
much it is moved by the place in which an answer was shown, and by length.

d ~ N(w * features, 1), the length among them, for longer answers may well be better; a vote for the first answer has
the probability sigmoid(a d + b position + c length), and other evidence is a d + b position + c length + N(0, v). It is
item response theory's two-parameter model with covariates, fitted by its EM over a grid of d (Bock and Aitkin 1981).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.hermite_e import hermegauss

from rlaif_core.logistic import Array, fit_logistic, sigmoid
from rlaif_fusion.pairs import Pairs

NODES = 15
STEPS = 200
CLOSE = 1e-5
"""EM ends when a step raises the objective by less than this a pair."""
GOLD = 10.0
"""How sharply what is true follows from d: the truth is as good as its sign."""
PULL = np.array([0.1, 4.0, 4.0, 4.0])
"""Precision of the priors around a = 2 and no b, c or lean: enough to settle what a handful of votes does not."""
CENTRE = np.array([2.0, 0.0, 0.0, 0.0])
LEAST_SPREAD = 0.5
"""Of a source's evidence around what d makes it, as a share of its size. Else d comes to mean what one source says, as
in factor analysis (Heywood 1931), and the grid is too coarse for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """`posterior` [N]: how probable it is that the first answer is better; of every source [S] its slope a, its biases
    by position and length, its lean to the first answer, and the spread of its evidence (NaN where it votes); the
    weights [F + 1] of features and the length; and the objective before every step."""

    posterior: Array
    slope: Array
    position: Array
    length: Array
    lean: Array
    spread: Array
    features: Array
    objective: tuple[float, ...]


def joint_model(pairs: Pairs, trusted: Array | None = None, *, mirrored: bool = True) -> Joint:
    """Fit the model to what the sources said, and to `trusted` labels [N] (1, 0, NaN) where there are any.

    The first guess, the mean of the votes, decides which way d points, so that a source that opposes the others gets a
    negative slope. `mirrored`: no source leans to the first answer whatever is shown.
    """
    nodes, weights = hermegauss(NODES)
    weights = np.log(weights / weights.sum())
    truth = np.full(len(pairs.lengths), np.nan) if trusted is None else trusted
    sources = [_Source(pairs, place, mirrored) for place in range(len(pairs.names))]
    known = ~np.isnan(truth)[:, None]
    side = np.where(known, 2 * truth[:, None] - 1, 1.0)
    features = np.concatenate([pairs.features, pairs.lengths[:, None]], 1)
    tilt = np.zeros(features.shape[1])
    posterior = _guess(pairs, truth, nodes, weights)
    objective: list[float] = []
    for _ in range(STEPS):
        grid = (features @ tilt)[:, None] + nodes  # [N, Q]
        for source in sources:
            source.fit(grid, posterior)
        tilt = _tilt(features, (posterior * grid).sum(1))
        grid = (features @ tilt)[:, None] + nodes
        joint = weights + sum(source.log_likelihood(grid) for source in sources)
        joint -= np.where(known, np.logaddexp(0, -side * GOLD * grid), 0.0)
        likelihood = np.logaddexp.reduce(joint, axis=1)
        posterior = np.exp(joint - likelihood[:, None])
        objective.append(float(likelihood.sum() + sum(source.log_prior() for source in sources) - (tilt**2).sum() / 2))
        if len(objective) > 1 and objective[-1] - objective[-2] <= CLOSE * len(truth):
            break
    coefficients = np.array([source.coefficients for source in sources]).reshape(-1, 4)
    return Joint(
        posterior=(posterior * sigmoid(GOLD * grid)).sum(1),
        slope=coefficients[:, 0],
        position=coefficients[:, 1],
        length=coefficients[:, 2],
        lean=coefficients[:, 3],
        spread=np.array([source.spread for source in sources]),
        features=tilt,
        objective=tuple(objective),
    )


class _Source:
    """One source's calibration: coefficients (a, b, c, lean) and, where it says more than a vote, a spread."""

    def __init__(self, pairs: Pairs, place: int, mirrored: bool) -> None:
        self.rows = np.flatnonzero(pairs.spoke[:, place])
        self.said = pairs.evidence[self.rows, place]
        self.votes = pairs.kinds[place] == "vote"
        lean = np.full(len(self.rows), 0.0 if mirrored else 1.0)
        self.known = np.stack([pairs.positions[self.rows, place], pairs.lengths[self.rows], lean], 1)
        self.used = np.flatnonzero([True, *(self.known != 0).any(0)])
        self.coefficients = CENTRE.copy()
        self.least = LEAST_SPREAD * float(np.sqrt((self.said**2).mean())) if len(self.said) else 1.0
        self.spread = float("nan") if self.votes else max(self.least, 0.1)

    def fit(self, grid: Array, posterior: Array) -> None:
        """The likeliest calibration where d lies on `grid` [N, Q] with the `posterior` probabilities."""
        if not len(self.rows):
            return
        used, pull, centre = self.used, PULL[self.used], CENTRE[self.used]
        columns = np.broadcast_to(self.known[:, None, used[1:] - 1], (*grid[self.rows].shape, len(used) - 1))
        design = np.concatenate([grid[self.rows][:, :, None], columns], 2).reshape(-1, len(used))
        weights = posterior[self.rows].reshape(-1)
        if self.votes:
            shares = np.repeat((self.said + 1) / 2, grid.shape[1])
            start = self.coefficients[used]
            self.coefficients[used] = fit_logistic(
                design, shares, ridge=pull, centre=centre, weights=weights, start=start
            )
            return
        target = np.repeat(self.said, grid.shape[1])
        ridge = pull * self.spread**2
        normal = (design.T * weights) @ design + np.diag(ridge)
        self.coefficients[used] = np.linalg.solve(normal, (design.T * weights) @ target + ridge * centre)
        missed = target - design @ self.coefficients[used]
        self.spread = max(self.least, 0.1, float(np.sqrt((weights * missed**2).sum() / weights.sum())))

    def log_likelihood(self, grid: Array) -> Array:
        """Of what the source said, for every d on `grid` [N, Q]; 0 where it said nothing."""
        found = np.zeros_like(grid)
        expected = self.coefficients[0] * grid[self.rows] + (self.known @ self.coefficients[1:])[:, None]
        if self.votes:
            shares = ((self.said + 1) / 2)[:, None]
            found[self.rows] = shares * expected - np.logaddexp(0, expected)
        else:
            missed = (self.said[:, None] - expected) / self.spread
            found[self.rows] = -(missed**2) / 2 - np.log(self.spread)
        return found

    def log_prior(self) -> float:
        """Of the coefficients, up to a constant."""
        return -float((PULL * (self.coefficients - CENTRE) ** 2).sum()) / 2


def _guess(pairs: Pairs, truth: Array, nodes: Array, weights: Array) -> Array:
    """A first posterior [N, Q], from the mean of the votes, each source's by how it does on trusted labels (all alike
    where there are none), or the trusted label itself where there is one."""
    agreed = pairs.votes * (2 * truth - 1)[:, None]
    right, wrong = (agreed == 1).sum(0), (agreed == -1).sum(0)
    weight = np.log((right + 2) / (wrong + 1))
    mean = np.nansum(weight * pairs.votes, 1) / np.maximum(pairs.spoke @ np.abs(weight), 1e-9)
    mean = np.where(np.isnan(truth), mean, 2 * truth - 1)
    joint = weights - np.logaddexp(0, -2 * mean[:, None] * nodes) * 2
    joint = np.where(mean[:, None] == 0, weights, joint)
    posterior: Array = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
    return posterior


def _tilt(features: Array, expected: Array) -> Array:
    """Ridge regression (a standard normal prior) of the expected d on the features."""
    return np.asarray(np.linalg.solve(features.T @ features + np.eye(features.shape[1]), features.T @ expected), float)
