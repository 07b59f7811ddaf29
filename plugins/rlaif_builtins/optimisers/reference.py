"""The policy as it was when training began: a KL penalty as a reward source, and the KL that every step reports."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_builtins.optimisers.parts import detached
from rlaif_core.feedback import Score, Scored
from rlaif_core.protocols import Policy
from rlaif_core.types import Experience, Rollouts

NAME = "kl"


class KlPenalty:
    """Scores each token with log p_reference - log p_policy, in nats; the optimiser's KL weight makes it a penalty.

    As a reward source it is explained in the ledger like any other, and every credit assignment treats it rightly.
    Both sides come from one way of computing them, by default `policy.logprobs`: what the sampler noted differs by
    rounding, and where answers earn alike a comparison within their group would blow that up to a reward. `hidden` says
    that `logprobs` come from a pass which gives the hidden states, too.
    """

    def __init__(
        self,
        policy: Policy,
        microbatch: int | None,
        logprobs: Callable[[Rollouts], Tensor] | None = None,
        *,
        hidden: bool = False,
    ) -> None:
        self._microbatch = microbatch
        self._logprobs = logprobs or (lambda rollouts: detached(policy.logprobs, rollouts, microbatch))
        self._reference = partial(policy.reference_logprobs, hidden=True) if hidden else policy.reference_logprobs

    def score(self, rollouts: Rollouts) -> Scored:
        tokens = detached(self._reference, rollouts, self._microbatch) - self._logprobs(rollouts)
        said = [
            Score(value, f"{abs(value):.2f} nats {'below' if value > 0 else 'above'} the reference")
            for value in tokens.sum(1).tolist()
        ]
        return Scored(outcomes=said, tokens=tokens)


def measured_kl(experience: Experience) -> dict[str, float]:
    """{"kl": mean over answers of the summed k3 estimate, in nats}, from the penalty's own token scores.

    Of recorded answers there is none: it is the policy's own that the estimate holds for.
    """
    tokens = experience.feedback.token_scores.get(NAME)
    if tokens is None or experience.rollouts.recorded:
        return {}
    return {"kl": float(rk.kl_estimate(torch.zeros_like(tokens), tokens).sum(1).mean())}
