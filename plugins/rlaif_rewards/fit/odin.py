"""A head for how long an answer is, fitted beside the head for its quality and thrown away (ODIN; Chen et al. 2024).

Both heads share features and their sum is fitted to the preferences. The length head takes what length explains, and
the quality head, which alone is kept, is held apart from length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlaif_rewards.fit.features import Matrix
from rlaif_rewards.reading import Shown

Array = NDArray[np.float64]


def lengths(shown: Sequence[Shown]) -> Array:
    """[N] characters of the answers."""
    return np.array([float(len(each.answer)) for each in shown])


def correlation(said: Tensor, lengths: Tensor) -> Tensor:
    """Pearson's, a scalar; 0 where one of the two [N] does not vary."""
    one, other = said - said.mean(), lengths - lengths.mean()
    found: Tensor = (one * other).sum() / (one.norm() * other.norm()).clamp(min=1e-12)
    return found


def entangled(heads: Tensor, lengths: Tensor) -> Tensor:
    """|rho(quality, length)| - rho(length head, length) of heads [N, 2] and lengths [N]: the paper's L^L, from -1 to
    1 and the less the better."""
    return correlation(heads[:, 0], lengths).abs() - correlation(heads[:, 1], lengths)


def overlap(weight: Tensor) -> Tensor:
    """|cosine| of both heads' weights [2, D], the paper's L^O: 0 where they are orthogonal."""
    return torch.nn.functional.cosine_similarity(weight[0], weight[1], dim=0).abs()


def length_head(features: Matrix, lengths: Array) -> Array:
    """[D], of length 1 (or 0): the covariance of features [N, D] with lengths [N].

    Of linear heads it is the length head to which the paper's losses lead: what is orthogonal to it is not correlated
    with length at all, so that both of what is asked of the quality head are one and the same, and can hold exactly.
    """
    covariance = np.asarray(features.T @ (lengths - lengths.mean()))
    size = float(np.linalg.norm(covariance))
    return covariance / size if size > 1e-9 * len(lengths) else np.zeros(len(covariance))
