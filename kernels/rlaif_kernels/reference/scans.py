"""Sums over what follows a token, discounted by how far away it is: advantages, returns, and V-trace's corrections.

All run over each row's unmasked tokens as if the others were cut out. With `cu_seqlens` [B+1] the tensors are [N] and
hold B sequences one after the other, of which the b-th is [cu_seqlens[b] : cu_seqlens[b+1]]. Nothing is differentiable.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rlaif_kernels.reference.numbers import accumulation

__all__ = ["discounted_returns", "gae", "lambda_returns", "vtrace"]


def gae(
    rewards: Tensor,
    values: Tensor | None,
    mask: Tensor,
    *,
    gamma: float | Tensor = 1.0,
    lam: float | Tensor = 0.95,
    dones: Tensor | None = None,
    next_values: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al., 2016, eq. 16) over each row's unmasked tokens.

    [B,T] each -> (advantages [B,T], returns [B,T]); returns = advantages + values; both 0 off the mask, and detached.
    The tokens where `mask` is False count as cut out: delta looks from one unmasked token to the next.
    An episode ends where `dones` is True and at each row's last unmasked token; what follows it is worth `next_values`
    there: 0 (the default) if it terminated, V(s') if it was truncated. gamma and lam are numbers, or [B]: one a row.
    Values that are None are 0.
    """
    packing = Packing(cu_seqlens)
    values = torch.zeros_like(rewards) if values is None else values
    rewards, values, mask = (packing.rows(each) for each in (rewards, values, mask))
    dtype = accumulation(rewards, values, next_values)
    gamma, lam = _per_row(gamma, dtype), _per_row(lam, dtype)
    carry = torch.zeros(len(rewards), dtype=dtype, device=rewards.device)

    def visit(_: int, here: Tensor, value: Tensor, delta: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal carry
        advantage = delta + gamma * lam * torch.where(end, 0.0, carry)
        carry = torch.where(here, advantage, carry)
        return advantage, advantage + value

    said = _backwards((rewards, values, mask, packing.maybe(dones), packing.maybe(next_values)), gamma, dtype, visit)
    return packing.flat(said[0]), packing.flat(said[1])


def discounted_returns(
    rewards: Tensor,
    mask: Tensor,
    *,
    gamma: float | Tensor,
    dones: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """Sum of gamma^k r over each row's unmasked tokens up to the end of the episode: [B,T] each -> [B,T], 0 off-mask.

    That is `gae` with nothing expected (V = 0) and nothing smoothed away (lam = 1).
    """
    return gae(rewards, None, mask, gamma=gamma, lam=1.0, dones=dones, cu_seqlens=cu_seqlens)[0]


def lambda_returns(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    *,
    gamma: float | Tensor = 1.0,
    lam: float | Tensor = 0.95,
    dones: Tensor | None = None,
    next_values: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> Tensor:
    """TD(lambda) targets, G_t = r_t + gamma ((1 - lam) V_{t+1} + lam G_{t+1}) (Sutton & Barto, 2018, eq. 12.20).

    [B,T] each -> [B,T]. They are the returns of `gae`, for the recursion of G - V is that of the advantages.
    """
    options = {"dones": dones, "next_values": next_values, "cu_seqlens": cu_seqlens}
    return gae(rewards, values, mask, gamma=gamma, lam=lam, **options)[1]


def vtrace(
    log_ratios: Tensor,
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    *,
    gamma: float | Tensor = 1.0,
    lam: float | Tensor = 1.0,
    rho_clip: float = 1.0,
    trace_clip: float = 1.0,
    dones: Tensor | None = None,
    next_values: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """V-trace (Espeholt et al., 2018, eq. 1): (targets v_s [B,T] for the values, policy-gradient advantages [B,T]).

    log_ratios [B,T] are log pi - log mu of the tokens that mu chose. With rho = min(rho_clip, ratio) and c = lam
    min(trace_clip, ratio), v_t = V_t + rho_t delta_t + gamma c_t (v_{t+1} - V_{t+1}), and the advantage is
    rho_t (r_t + gamma v_{t+1} - V_t). Ends, masks and `next_values` as in `gae`, which it is at ratio 1 but for the
    advantage, whose lambda is then 1 for the step that follows.
    """
    packing = Packing(cu_seqlens)
    rewards, values, mask, log_ratios = (packing.rows(each) for each in (rewards, values, mask, log_ratios))
    dtype = accumulation(rewards, values, next_values, log_ratios)
    gamma, lam = _per_row(gamma, dtype), _per_row(lam, dtype)
    ratio = log_ratios.detach().to(dtype).exp()
    rho, trace = ratio.clamp(max=rho_clip), ratio.clamp(max=trace_clip)
    carry = torch.zeros(len(rewards), dtype=dtype, device=rewards.device)

    def visit(t: int, here: Tensor, value: Tensor, delta: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal carry
        follows = gamma * torch.where(end, 0.0, carry)
        excess = rho[:, t] * delta + lam * trace[:, t] * follows
        carry = torch.where(here, excess, carry)
        return excess + value, rho[:, t] * (delta + follows)

    said = _backwards((rewards, values, mask, packing.maybe(dones), packing.maybe(next_values)), gamma, dtype, visit)
    return packing.flat(said[0]), packing.flat(said[1])


Rows = tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]
Visit = Callable[[int, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _backwards(rows: Rows, gamma: float | Tensor, dtype: torch.dtype, visit: Visit) -> tuple[Tensor, Tensor]:
    """From the last token to the first: visit(t, unmasked, V, delta, whether an episode ends there), [B] each.

    -> what it gave of all tokens [B,T], 0 off the mask; put together at the end, so that torch.vmap can have a say.
    """
    rewards, values, mask, dones, next_values = rows
    following = torch.zeros(len(rewards), dtype=dtype, device=rewards.device)
    last = torch.ones(len(rewards), dtype=torch.bool, device=rewards.device)
    given: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for t in reversed(range(rewards.shape[1])):
            here, value = mask[:, t], values[:, t].to(dtype)
            end = last if dones is None else last | dones[:, t]
            after = torch.where(end, 0.0 if next_values is None else next_values[:, t].to(dtype), following)
            found = visit(t, here, value, rewards[:, t].to(dtype) + gamma * after - value, end)
            given.append((torch.where(here, found[0], 0.0), torch.where(here, found[1], 0.0)))
            following, last = torch.where(here, value, following), last & ~here
        if not given:
            return torch.zeros_like(rewards, dtype=dtype), torch.zeros_like(rewards, dtype=dtype)
        first, second = (torch.stack(one, 1) for one in zip(*reversed(given), strict=True))
    return first, second


class Packing:
    """B sequences in [N] as rows [B,T], with nothing unmasked behind an end; [B,T] where they are rows already."""

    def __init__(self, cu_seqlens: Tensor | None) -> None:
        self._here = None
        if cu_seqlens is not None:
            lengths = cu_seqlens.diff()
            steps = torch.arange(int(lengths.max()) if len(lengths) else 0, device=lengths.device)
            self._here = steps < lengths[:, None]
            self._place = (cu_seqlens[:-1, None] + steps).where(self._here, 0)

    def rows(self, given: Tensor) -> Tensor:
        if self._here is None:
            return given
        return given.detach()[self._place].masked_fill(~self._here, 0)

    def maybe(self, given: Tensor | None) -> Tensor | None:
        return None if given is None else self.rows(given)

    def flat(self, rows: Tensor) -> Tensor:
        return rows if self._here is None else rows[self._here]


def _per_row(number: float | Tensor, dtype: torch.dtype) -> float | Tensor:
    return number.to(dtype) if isinstance(number, Tensor) else number
