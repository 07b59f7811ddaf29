"""What is minimised: negative log-likelihoods of labels and of preferences, as pure functions of scores.

Scores may have any shift; preferences are read off their differences alone. Targets may be soft: a share of the votes,
or how sure a judge was.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Ties = Literal["none", "davidson", "rao_kupper"]


def cross_entropy(logits: Tensor, targets: Tensor, noise: Tensor | None = None) -> Tensor:
    """[N] of logits [N,L] and targets [N,L] (rows sum to 1).

    noise [L,L]: row i holds how label i was written down, so that the chance of what was written is noise.T @ p
    (forward correction; Patrini et al. 2017). The identity changes nothing.
    """
    logp = logits.log_softmax(1)
    if noise is not None:
        logp = torch.logsumexp(logp[:, :, None] + noise.log(), 1)
    return -(targets * logp.where(targets > 0, 0.0)).sum(1)


def flips(labels: int, rate: float) -> Tensor:
    """noise [L,L] f64: a label is written down as one of the others, all alike, at this rate."""
    others = torch.full((labels, labels), rate / max(labels - 1, 1), dtype=torch.float64)
    return others.fill_diagonal_(1 - rate)


def outcomes(difference: Tensor, *, ties: Ties = "none", strength: Tensor | float = 0.0) -> Tensor:
    """[N,3] log-chances that the first is preferred, neither, or the second; difference [N] = first - second.

    "none": Bradley-Terry (1952), sigmoid(difference), and no tie. "davidson" (1970): ties are likeliest where scores
    are close, strength is ln nu, and -inf gives Bradley-Terry. "rao_kupper" (1967): who is preferred must lead by
    strength = ln theta >= 0, and 0 gives Bradley-Terry.
    """
    strength = torch.as_tensor(strength, dtype=difference.dtype)
    if ties == "davidson":
        return torch.stack([difference / 2, strength.expand_as(difference), -difference / 2], -1).log_softmax(-1)
    lead = strength if ties == "rao_kupper" else torch.zeros_like(strength)
    first, second = functional.logsigmoid(difference - lead), functional.logsigmoid(-difference - lead)
    if ties == "none":
        return torch.stack([first, torch.full_like(first, -math.inf), second], -1)
    return torch.stack([first, torch.expm1(2 * lead).log() + first + second, second], -1)


def swayed(logp: Tensor, reliability: Tensor) -> Tensor:
    """Log-chances [N,3] of what annotators say who are right at these rates [N] and else prefer the other one.

    eta * P + (1 - eta) * P with both exchanged; ties stay ties (Crowd-BT; Chen et al. 2013).
    """
    right, wrong = reliability.log(), torch.log1p(-reliability)
    first, tie, second = logp.unbind(-1)
    there, back = torch.logaddexp(right + first, wrong + second), torch.logaddexp(right + second, wrong + first)
    return torch.stack([there, tie, back], -1)


def preference(logp: Tensor, targets: Tensor) -> Tensor:
    """[N]: -sum of targets [N,3] times log-chances [N,3] (first, neither, second)."""
    return -(targets * logp.where(targets > 0, 0.0)).sum(-1)


def plackett_luce(difference: Tensor, stages: Tensor) -> Tensor:
    """[N]: of differences [N] to worse answers, those of one stage [N] (any whole numbers) being one answer's to all
    that are worse in its list: log(1 + sum of exp(-difference)), of which each of them bears its part.

    The sum over the stages of a list is the negative log-likelihood of its order, one answer after the other being
    taken out as the best of what is left (Plackett 1975); of two answers it is Bradley-Terry's. Equally good answers
    are not compared.
    """
    _, place, sizes = torch.unique(stages, return_inverse=True, return_counts=True)
    zeros = torch.zeros(len(sizes), dtype=difference.dtype, device=difference.device)
    most = zeros.scatter_reduce(0, place, -difference.detach(), "amax")  # 0 among them: the answer itself
    total = (-most).exp().scatter_add(0, place, (-difference - most[place]).exp())
    each: Tensor = (most + total.log()) / sizes
    return each[place]


def margin(difference: Tensor, targets: Tensor, margins: Tensor) -> Tensor:
    """[N] differences less what the preferred one must lead by (Llama 2, Touvron et al. 2023), before `outcomes`."""
    return difference - margins * (targets[:, 0] - targets[:, 2])


def centring(first: Tensor, second: Tensor) -> Tensor:
    """[N]: the square of the sum of both scores, 0 where a pair's mean is 0 (Eisenstein et al. 2023)."""
    return (first + second) ** 2


def unsure(targets: Tensor, *, pairs: bool) -> Tensor:
    """Targets of labels [N, L], or of pairs [N, 3], as if one in N + 2 had been another (Platt 1999).

    What is calibrated on a few rows that are all right would else come to be certain.
    """
    other = targets.flip(-1) if pairs else (1 - targets) / (targets.shape[1] - 1)
    return targets + (other - targets) / (len(targets) + 2)
