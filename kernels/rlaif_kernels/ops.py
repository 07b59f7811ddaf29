"""The public operations: arguments checked once, then handed to the implementation that runs them.

Meaning and formulas stand beside the definitions in `reference.py`; every implementation agrees with them.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
from torch import Tensor

from rlaif_kernels import logprob
from rlaif_kernels.dispatch import Impl, choose

__all__ = ["discounted_returns", "gae", "masked_whiten", "token_logprobs"]


@overload
def token_logprobs(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor = ...,
    softcap: float | None = ...,
    scale: float = ...,
    ignore_index: int = ...,
    entropy: Literal[False] = ...,
    impl: Impl = ...,
) -> Tensor: ...
@overload
def token_logprobs(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor = ...,
    softcap: float | None = ...,
    scale: float = ...,
    ignore_index: int = ...,
    entropy: Literal[True],
    impl: Impl = ...,
) -> tuple[Tensor, Tensor]: ...
@overload
def token_logprobs(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor = ...,
    softcap: float | None = ...,
    scale: float = ...,
    ignore_index: int = ...,
    entropy: bool,
    impl: Impl = ...,
) -> Tensor | tuple[Tensor, Tensor]: ...
def token_logprobs(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    softcap: float | None = None,
    scale: float = 1.0,
    ignore_index: int = -100,
    entropy: bool = False,
    impl: Impl = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Log-probability of each target, and on request the entropy of each distribution, in nats.

    logits [..., V], targets [...] int64 -> [...] float32 (float64 from float64), or a pair of them. Differentiable.
    z = cap(scale * logits) / temperature, cap(u) = softcap * tanh(u / softcap); `temperature` is a number or [...].
    Where the target is `ignore_index` the result is 0 and no gradient flows, whatever the logits hold.
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(f"token_logprobs: logits {_shape(logits)} do not go with targets {_shape(targets)}")
    if targets.dtype != torch.int64:
        raise TypeError(f"token_logprobs: targets are token ids in int64, got {targets.dtype}")
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise ValueError(f"token_logprobs: temperature must be above 0, got {temperature}")
    if softcap is not None and not softcap > 0:
        raise ValueError(f"token_logprobs: softcap must be above 0 or None, got {softcap}")
    tensors = (logits, targets, temperature if isinstance(temperature, Tensor) else None)
    options: dict[str, Any] = {"temperature": temperature, "softcap": softcap, "scale": scale}
    run = choose("token_logprobs", impl, tensors, {"native": logprob.unfit(logits, **options)})
    result: Tensor | tuple[Tensor, Tensor] = run(logits, targets, **options, ignore_index=ignore_index, entropy=entropy)
    return result


def gae(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    *,
    gamma: float = 1.0,
    lam: float = 0.95,
    dones: Tensor | None = None,
    next_values: Tensor | None = None,
    impl: Impl = "auto",
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al., 2016) and the returns advantages + values.

    [B,T] each -> ([B,T], [B,T]) in float32 (float64 from float64), detached, 0 where `mask` is False. The recursion
    runs over each row's unmasked tokens as if the others were cut out. An episode ends where `dones` is True and at
    each row's last unmasked token; there `next_values` is what follows: 0 (default) if the episode terminated, V(s')
    if it was truncated. Nothing is read off the mask, and `next_values` only where an episode ends.
    """
    _rows("gae", rewards)
    _matching("gae", rewards, values=values, mask=mask, dones=dones, next_values=next_values)
    _flags("gae", mask=mask, dones=dones)
    run = choose("gae", impl, (rewards, values, mask, dones, next_values))
    pair: tuple[Tensor, Tensor] = run(rewards, values, mask, gamma=gamma, lam=lam, dones=dones, next_values=next_values)
    return pair


def discounted_returns(
    rewards: Tensor, mask: Tensor, *, gamma: float, dones: Tensor | None = None, impl: Impl = "auto"
) -> Tensor:
    """Discounted sum of the rewards from each token to the end of its episode.

    [B,T] each -> [B,T] in float32 (float64 from float64), detached, 0 where `mask` is False; masked tokens take no
    time. It is `gae` with nothing expected (V = 0) and nothing smoothed away (lam = 1), so it runs wherever that does.
    """
    _rows("discounted_returns", rewards)
    _matching("discounted_returns", rewards, mask=mask, dones=dones)
    _flags("discounted_returns", mask=mask, dones=dones)
    nothing = torch.zeros_like(rewards)
    return gae(rewards, nothing, mask, gamma=gamma, lam=1.0, dones=dones, impl=impl)[0]


def masked_whiten(x: Tensor, mask: Tensor, *, eps: float = 1e-8, impl: Impl = "auto") -> Tensor:
    """Shift and scale the unmasked entries, all together, to mean 0 and variance 1; 0 elsewhere.

    Any shape, `mask` of the same -> that shape in float32 (float64 from float64). Differentiable. The variance is the
    population's, and `eps` is added to it, so that equal entries whiten to 0.
    """
    _matching("masked_whiten", x, mask=mask)
    _flags("masked_whiten", mask=mask)
    result: Tensor = choose("masked_whiten", impl, (x, mask))(x, mask, eps=eps)
    return result


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def _rows(operation: str, rewards: Tensor) -> None:
    if rewards.ndim != 2:
        raise ValueError(f"{operation}: rewards must be [B,T], got {_shape(rewards)}")


def _matching(operation: str, first: Tensor, **others: Tensor | None) -> None:
    for name, tensor in others.items():
        if tensor is not None and tensor.shape != first.shape:
            raise ValueError(f"{operation}: {name} is {_shape(tensor)}, expected {_shape(first)}")
        if tensor is not None and tensor.device != first.device:
            raise ValueError(f"{operation}: {name} is on {tensor.device}, expected {first.device}")


def _flags(operation: str, **flags: Tensor | None) -> None:
    for name, tensor in flags.items():
        if tensor is not None and tensor.dtype != torch.bool:
            raise TypeError(f"{operation}: {name} must be bool, got {tensor.dtype}")
