"""Advantages and returns: sums over what follows a token. Meaning and formulas stand in `reference.scans`."""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif_kernels import arguments, library
from rlaif_kernels.dispatch import Impl, choose, quick

__all__ = ["discounted_returns", "gae", "lambda_returns", "vtrace"]


def gae(
    rewards: Tensor,
    values: Tensor,
    mask: Tensor,
    *,
    gamma: float | Tensor = 1.0,
    lam: float | Tensor = 0.95,
    dones: Tensor | None = None,
    next_values: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    out: tuple[Tensor, Tensor] | None = None,
    impl: Impl = "auto",
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al., 2016) and the returns advantages + values.

    [B,T] each -> ([B,T], [B,T]) in float32 (float64 from float64), detached, 0 where `mask` is False. The recursion
    runs over each row's unmasked tokens as if the others were cut out. An episode ends where `dones` is True and at
    each row's last unmasked token; there `next_values` is what follows: 0 (default) if the episode terminated, V(s')
    if it was truncated. Nothing is read off the mask, and `next_values` only where an episode ends. gamma and lam are
    numbers, or [B]: one a row. With `cu_seqlens` [B+1] all tensors are [N], the sequences one after the other. `out` is
    where to put the two results: new memory of their size costs more than they do.
    """
    if (
        impl in ("auto", "native")
        and not torch.compiler.is_compiling()
        and rewards.is_cpu
        and (native := quick("scans"))
    ):
        plain = (rewards, values, mask, dones, next_values)
        said = native.at_once(plain, gamma, lam, out) if cu_seqlens is None else None
        if said is not None:
            return said  # type: ignore[no-any-return]
    arguments.tensors("gae", rewards=rewards, values=values, mask=mask)
    rows = arguments.rows_of("gae", "rewards", rewards, cu_seqlens)
    arguments.matching("gae", rewards, values=values, mask=mask, dones=dones, next_values=next_values)
    arguments.flags("gae", mask=mask, dones=dones)
    arguments.per_row("gae", rows, rewards, gamma=gamma, lam=lam)
    given = {"rewards": rewards, "values": values, "mask": mask}
    options = {"gamma": gamma, "lam": lam, "dones": dones, "next_values": next_values, "cu_seqlens": cu_seqlens}
    if torch.compiler.is_compiling() and library.covers(rewards, impl, values, next_values):
        return library.gae(**given, **options)
    run = choose("gae", impl, (rewards, values, mask, dones, next_values))
    pair: tuple[Tensor, Tensor] = run(**given, **options)
    if out is None:
        return pair
    arguments.matching("gae", rewards, **{"out[0]": out[0], "out[1]": out[1]})
    return out[0].copy_(pair[0]), out[1].copy_(pair[1])


def discounted_returns(
    rewards: Tensor,
    mask: Tensor,
    *,
    gamma: float | Tensor,
    dones: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    impl: Impl = "auto",
) -> Tensor:
    """Discounted sum of the rewards from each token to the end of its episode.

    [B,T] each -> [B,T] in float32 (float64 from float64), detached, 0 where `mask` is False; masked tokens take no
    time. It is `gae` with nothing expected (V = 0) and nothing smoothed away (lam = 1), so it runs wherever that does.
    """
    arguments.tensors("discounted_returns", rewards=rewards, mask=mask)
    rows = arguments.rows_of("discounted_returns", "rewards", rewards, cu_seqlens)
    arguments.matching("discounted_returns", rewards, mask=mask, dones=dones)
    arguments.flags("discounted_returns", mask=mask, dones=dones)
    arguments.per_row("discounted_returns", rows, rewards, gamma=gamma)
    nothing = torch.zeros_like(rewards)
    return gae(rewards, nothing, mask, gamma=gamma, lam=1.0, dones=dones, cu_seqlens=cu_seqlens, impl=impl)[0]


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
    impl: Impl = "auto",
) -> Tensor:
    """TD(lambda) targets for the values: G_t = r_t + gamma ((1 - lam) V_{t+1} + lam G_{t+1}).

    Arguments as in `gae`, whose returns they are (Sutton & Barto, 2018, eq. 12.20).
    """
    return gae(
        rewards,
        values,
        mask,
        gamma=gamma,
        lam=lam,
        dones=dones,
        next_values=next_values,
        cu_seqlens=cu_seqlens,
        impl=impl,
    )[1]


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
    impl: Impl = "auto",
) -> tuple[Tensor, Tensor]:
    """V-trace (Espeholt et al., 2018): targets for the values, and advantages, of tokens that another policy chose.

    log_ratios [B,T]: log-prob under the policy in training less that under the one that chose. -> ([B,T], [B,T]),
    detached, 0 off the mask. rho_clip bounds the ratio that weighs a step, trace_clip the one that lets later steps
    through. The rest as in `gae`.
    """
    arguments.tensors("vtrace", log_ratios=log_ratios, rewards=rewards, values=values, mask=mask)
    rows = arguments.rows_of("vtrace", "log_ratios", log_ratios, cu_seqlens)
    others = {"rewards": rewards, "values": values, "mask": mask, "dones": dones, "next_values": next_values}
    arguments.matching("vtrace", log_ratios, **others)
    arguments.flags("vtrace", mask=mask, dones=dones)
    arguments.per_row("vtrace", rows, rewards, gamma=gamma, lam=lam)
    arguments.number("vtrace", "rho_clip", rho_clip, least=0, above=True)
    arguments.number("vtrace", "trace_clip", trace_clip, least=0)
    options = {
        "gamma": gamma,
        "lam": lam,
        "rho_clip": rho_clip,
        "trace_clip": trace_clip,
        "cu_seqlens": cu_seqlens,
    }
    if torch.compiler.is_compiling() and library.covers(rewards, impl, log_ratios, values, next_values):
        return library.vtrace(log_ratios=log_ratios, **others, **options)
    run = choose("vtrace", impl, (log_ratios, *others.values()))
    pair: tuple[Tensor, Tensor] = run(log_ratios, **others, **options)
    return pair
