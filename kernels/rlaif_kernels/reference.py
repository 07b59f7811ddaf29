"""What every operation means, in plain torch.

This file is the fallback on any device, the oracle the fast implementations are tested against, the baseline they are
measured against and the text to read when in doubt. A mask selects and never multiplies: a NaN in a position that is
masked out reaches neither a result nor a gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["accumulation", "discounted_returns", "gae", "masked_whiten", "token_logprobs"]


def accumulation(*tensors: Tensor | None) -> torch.dtype:
    """The dtype sums are kept in and results come back in: float64 if any input has it, else float32."""
    return torch.float64 if any(t is not None and t.dtype == torch.float64 for t in tensors) else torch.float32


def token_logprobs(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    entropy: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """log softmax(z)[target] with z = cap(scale * logits) / temperature and cap(u) = softcap * tanh(u / softcap).

    logits [..., V], targets [...] -> [...] in nats, or (log-probs, entropies) with `entropy=True`; differentiable.
    Half-precision logits are widened before anything is summed. A position whose target is `ignore_index` gives 0.
    """
    kept = targets != ignore_index
    dtype = accumulation(logits)
    # Selecting copies, and adds a scatter to the backward pass, so it is left out where there is nothing to leave out.
    rows = logits.reshape(-1, logits.shape[-1]) if bool(kept.all()) else logits[kept]
    z = rows.to(dtype) if scale == 1.0 else rows.to(dtype) * scale
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    if isinstance(temperature, Tensor):
        temperature = temperature.to(dtype).expand(targets.shape)[kept].unsqueeze(-1)
    if isinstance(temperature, Tensor) or temperature != 1.0:
        z = z / temperature
    every = torch.log_softmax(z, dim=-1)

    def spread(values: Tensor) -> Tensor:
        return values.new_zeros(targets.shape).masked_scatter(kept, values)

    chosen = spread(every.gather(-1, targets[kept].unsqueeze(-1)).squeeze(-1))
    if not entropy:
        return chosen
    # A logit of -inf has probability 0 and adds nothing, where 0 * -inf would be NaN. Every term left has one sign.
    surprise = -every.masked_fill(every == -torch.inf, 0.0)
    return chosen, spread((every.exp() * surprise).sum(dim=-1))


def gae(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    *,
    gamma: float = 1.0,
    lam: float = 0.95,
    dones: Tensor | None = None,
    next_values: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al., 2016, eq. 16) over each row's unmasked tokens.

    [B,T] each -> (advantages [B,T], returns [B,T]); returns = advantages + values; both 0 off the mask, and detached.
    The tokens where `mask` is False count as cut out: delta looks from one unmasked token to the next.
    An episode ends where `dones` is True and at each row's last unmasked token; what follows it is worth `next_values`
    there: 0 (the default) if it terminated, V(s') if it was truncated.
    """
    dtype = accumulation(rewards, values, next_values)
    advantages = torch.zeros(rewards.shape, dtype=dtype, device=rewards.device)
    returns = torch.zeros_like(advantages)
    following, carry = advantages.new_zeros(len(rewards)), advantages.new_zeros(len(rewards))
    last = torch.ones(len(rewards), dtype=torch.bool, device=rewards.device)
    with torch.no_grad():
        for t in reversed(range(rewards.shape[1])):
            here, value = mask[:, t], values[:, t].to(dtype)
            end = last if dones is None else last | dones[:, t]
            after = torch.where(end, 0.0 if next_values is None else next_values[:, t].to(dtype), following)
            delta = rewards[:, t].to(dtype) + gamma * after - value
            advantage = delta + gamma * lam * torch.where(end, 0.0, carry)
            advantages[:, t] = torch.where(here, advantage, 0.0)
            returns[:, t] = torch.where(here, advantage + value, 0.0)
            following, carry = torch.where(here, value, following), torch.where(here, advantage, carry)
            last = last & ~here
    return advantages, returns


def discounted_returns(rewards: Tensor, mask: Tensor, *, gamma: float, dones: Tensor | None = None) -> Tensor:
    """Sum of gamma^k r over each row's unmasked tokens up to the end of the episode: [B,T] each -> [B,T], 0 off-mask.

    That is `gae` with nothing expected (V = 0) and nothing smoothed away (lam = 1).
    """
    return gae(rewards, torch.zeros_like(rewards), mask, gamma=gamma, lam=1.0, dones=dones)[0]


def masked_whiten(x: Tensor, mask: Tensor, *, eps: float = 1e-8) -> Tensor:
    """(x - mean) / sqrt(variance + eps) over the unmasked entries of the whole tensor; 0 elsewhere.

    Any shape -> the same shape. The variance is the population's (divided by n), in two passes, so that a large mean
    does not swallow it. One entry alone whitens to 0; no entry at all gives zeros.
    """
    kept = x[mask].to(accumulation(x))
    centred = kept - kept.mean()
    white = centred * torch.rsqrt(centred.square().mean() + eps)
    return white.new_zeros(x.shape).masked_scatter(mask, white)
