"""The policy as it was when training began: a KL penalty as a reward source, and the KL that every step reports."""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif_builtins.optimisers.losses import kl_estimate
from rlaif_core.feedback import Score, Scored
from rlaif_core.protocols import Policy
from rlaif_core.types import Experience, Rollouts

NAME = "kl"


class KlPenalty:
    """Scores each token with log p_reference - log p_policy, in nats: the optimiser's KL weight turns it into a penalty.

    As a reward source it is explained in the ledger like any other, and every credit assignment treats it rightly.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def score(self, rollouts: Rollouts) -> Scored:
        tokens = self._policy.reference_logprobs(rollouts) - rollouts.logp
        said = [Score(value, f"{-value:.2f} nats above the reference") for value in tokens.sum(1).tolist()]
        return Scored(outcomes=said, tokens=tokens)


def measured_kl(experience: Experience) -> dict[str, float]:
    """{"kl": mean over answers of the summed k3 estimate, in nats}, from the penalty's own token scores."""
    tokens = experience.feedback.token_scores.get(NAME)
    if tokens is None:
        return {}
    zero = torch.zeros_like(tokens)
    return {"kl": summed_kl(zero, tokens, experience.rollouts.mask)}


def summed_kl(logp: Tensor, reference: Tensor, mask: Tensor) -> float:
    """Mean over answers of KL(policy || reference) in nats, by the k3 estimate."""
    estimate = kl_estimate(logp.detach(), reference, "k3").where(mask, torch.zeros_like(reference))
    return float(estimate.sum(1).mean())
