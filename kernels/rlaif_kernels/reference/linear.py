"""Log-probabilities straight from hidden states and the output matrix, and the losses that stand on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rlaif_kernels.reference.logprobs import said_of, some, token_logprobs, z_of
from rlaif_kernels.reference.losses import LinearPolicyLoss, policy_loss
from rlaif_kernels.reference.numbers import accumulation, exact

__all__ = ["kept_logprobs", "linear_logprobs", "linear_policy_loss"]


def linear_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    entropy: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """`token_logprobs` of the logits hidden @ weight.T + bias: hidden [..., H], weight [V,H], targets [...] -> [...].

    Half-precision inputs are widened first, so the logits are never rounded.
    """
    dtype = accumulation(hidden, weight, bias)
    asked = _asked(hidden, targets == ignore_index)
    with exact(hidden):
        logits = functional.linear(asked.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype))
    options: dict[str, Any] = {"softcap": softcap, "scale": scale, "ignore_index": ignore_index, "entropy": entropy}
    return token_logprobs(logits, targets, temperature=temperature, **options)


def kept_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    kept: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    entropy: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """`linear_logprobs` renormalised over each position's kept tokens, as a sampler with top-k or top-p drew from.

    kept [..., K] int64 holds their ids in any order, filled up with -1. A target that is not among them has the
    log-prob -inf. What stands in the other rows of `weight` and `bias` does not matter.
    """
    ignored = targets == ignore_index
    there = kept >= 0
    ids = kept.where(there, 0)
    dtype = accumulation(hidden, weight, bias)
    with exact(hidden):
        # Widened first, so that the gradients of a token kept at many positions are added up in that dtype.
        rows = weight.to(dtype)[ids].masked_fill(~there.unsqueeze(-1), 0.0)
        logits = (rows @ _asked(hidden, ignored).to(dtype).unsqueeze(-1)).squeeze(-1)
    if bias is not None:
        logits = logits + bias.to(dtype)[ids].masked_fill(~there, 0.0)
    # What was not kept has no probability; nor has one place more, where a target is sought that is not among the kept.
    z = z_of(logits, ignored, temperature, softcap, scale).masked_fill(~there, -torch.inf)
    found = functional.pad(kept == targets.unsqueeze(-1), (0, 1), value=True)
    return said_of(functional.pad(z, (0, 1), value=-torch.inf), found.int().argmax(-1), ignored, entropy)


def linear_policy_loss(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    old_logp: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    **options: Any,
) -> LinearPolicyLoss:
    """`policy_loss` of the log-probs (and entropies) that `linear_logprobs` gives where `mask` is True.

    hidden [B,T,H], weight [V,H], targets [B,T] (read where `mask`), the rest as in `policy_loss`.
    """
    asked = targets.where(mask, -100)
    head: dict[str, Any] = {"bias": bias, "temperature": temperature, "softcap": softcap, "scale": scale}
    logp, entropy = linear_logprobs(hidden, weight, asked, entropy=True, **head)
    said = policy_loss(logp, old_logp, advantages, mask, entropy=entropy, **options)
    return LinearPolicyLoss(said.loss, said.metrics, logp.detach(), entropy.detach())


def _asked(hidden: Tensor, ignored: Tensor) -> Tensor:
    """The hidden states with 0 where nothing is asked: the gradient of `weight` multiplies with all of them."""
    return hidden.masked_fill(ignored.unsqueeze(-1), 0.0) if some(ignored) else hidden
