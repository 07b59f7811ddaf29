"""Log-probabilities and entropies of tokens from logits, whole or in shards of the vocabulary."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed

from rlaif_kernels.reference.numbers import accumulation, capturing

__all__ = ["said_of", "sharded_logprobs", "some", "token_logprobs", "transformed", "z_of"]


def token_logprobs(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    entropy: bool = False,
    inplace_backward: bool = False,  # noqa: ARG001  leave to overwrite the logits, of which plain torch makes no use
) -> Tensor | tuple[Tensor, Tensor]:
    """log softmax(z)[target] with z = cap(scale * logits) / temperature and cap(u) = softcap * tanh(u / softcap).

    logits [..., V], targets [...] -> [...] in nats, or (log-probs, entropies) with `entropy=True`; differentiable.
    Half-precision logits are widened before anything is summed. A position whose target is `ignore_index` gives 0.
    """
    ignored = targets == ignore_index
    return said_of(z_of(logits, ignored, temperature, softcap, scale), targets, ignored, entropy)


def sharded_logprobs(
    logits: Tensor,
    targets: Tensor,
    *,
    first: int,
    group: Any = None,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    entropy: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """`token_logprobs` where each process of `group` has the logits [..., W] of the tokens from `first` on.

    Of every position a process tells the others four numbers: its largest z, the sum of e^(z - largest), the sum of
    e^(z - largest) (z - largest), and the target's z, or NaN where another has it. A gradient reaches a process's own
    logits. The log-prob of a target that none has is NaN.
    """
    ignored = targets == ignore_index
    z = z_of(logits, ignored, temperature, softcap, scale)
    largest = z.detach().amax(-1)
    below = z - largest.masked_fill(largest == -torch.inf, 0.0).unsqueeze(-1)
    power = below.exp()
    own = (targets >= first) & (targets < first + logits.shape[-1]) & ~ignored
    place = (targets - first).where(own, 0).unsqueeze(-1)
    chosen = z.gather(-1, place).squeeze(-1).where(own, torch.nan)
    moment = (power * below.masked_fill(power == 0.0, 0.0)).sum(-1)
    said = torch.stack([largest, power.sum(-1), moment, chosen], -1)
    others = [torch.empty_like(said) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(others, said.detach().contiguous(), group=group)
    others[distributed.get_rank(group)] = said
    tops, masses, moments, choices = torch.stack(others).unbind(-1)
    told = ~choices.isnan()
    chosen = choices.where(told, 0.0).sum(0).where(told.any(0), torch.nan)
    top = tops.amax(0)
    apart = tops - top.masked_fill(top == -torch.inf, 0.0)
    share = apart.exp()
    mass = (share * masses).sum(0)
    logp = (chosen - top - mass.log()).masked_fill(ignored, 0.0)
    if not entropy:
        return logp
    moment = (share * (moments + apart.masked_fill(share == 0.0, 0.0) * masses)).sum(0)
    return logp, (mass.log() - moment / mass).masked_fill(ignored, 0.0)


def some(ignored: Tensor) -> bool:
    """Whether there may be any: selecting copies, so it is left out where there is nothing to leave out.

    A compiler cannot look, nor may a graph that is captured, nor is there anything to be seen on the meta device.
    """
    return torch.compiler.is_compiling() or ignored.is_meta or capturing(ignored) or bool(ignored.any())


def z_of(logits: Tensor, ignored: Tensor, temperature: float | Tensor, softcap: float | None, scale: float) -> Tensor:
    """What the softmax is taken of, in the dtype of sums; 0 where nothing is asked, whatever stands there."""
    z = logits.to(accumulation(logits))
    if some(ignored):
        z = z.masked_fill(ignored.unsqueeze(-1), 0.0)
    return transformed(z, ignored, temperature, softcap, scale)


def transformed(z: Tensor, ignored: Tensor, temperature: float | Tensor, softcap: float | None, scale: float) -> Tensor:
    """cap(scale * z) / temperature, of finite numbers where nothing is asked."""
    if isinstance(scale, Tensor) or scale != 1.0:
        z = z * scale
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    if isinstance(temperature, Tensor):
        return z / temperature.to(z.dtype).expand(ignored.shape).masked_fill(ignored, 1.0).unsqueeze(-1)
    return z if temperature == 1.0 else z / temperature


def said_of(z: Tensor, place: Tensor, ignored: Tensor, entropy: bool) -> Tensor | tuple[Tensor, Tensor]:
    """The log-probs of the tokens at `place` of z [..., V], with the entropies if wanted; 0 where `ignored`."""
    every = torch.log_softmax(z, dim=-1)
    chosen = every.gather(-1, place.masked_fill(ignored, 0).unsqueeze(-1)).squeeze(-1).masked_fill(ignored, 0.0)
    if not entropy:
        return chosen
    # What has the probability 0 adds nothing, where 0 * -inf, here or backwards, would be NaN. The terms have one sign.
    p = every.exp()
    surprise = -every.masked_fill(p == 0.0, 0.0)
    return chosen, (p * surprise).sum(dim=-1).masked_fill(ignored, 0.0)
