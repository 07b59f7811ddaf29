"""Advantages and returns: sums over what follows a token. Meaning and formulas stand in `reference.scans`."""

from __future__ import annotations

import torch
from torch import Tensor

from rlaif_kernels import arguments, operators
from rlaif_kernels.dispatch import TURNED_OFF, Impl, choose, quick
from rlaif_kernels.reference.numbers import accumulation

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
    where to put the two results, of their shape and dtype: new memory of their size costs more than they do.

    >>> rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.full((1, 3), 0.5)
    >>> rk.gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), lam=1.0)
    (tensor([[0.5000, 0.5000, 0.5000]]), tensor([[1., 1., 1.]]))
    """
    given = (rewards, values, mask, dones, next_values)
    return _gae("gae", given, gamma, lam, cu_seqlens, impl, out)  # type: ignore[return-value]


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

    >>> rk.discounted_returns(torch.tensor([[0.0, 9.0, 1.0]]), torch.tensor([[True, False, True]]), gamma=0.5)
    tensor([[0.5000, 0.0000, 1.0000]])
    """
    given = (rewards, None, mask, dones, None)
    return _gae("discounted_returns", given, gamma, 1.0, cu_seqlens, impl)[0]  # type: ignore[return-value]


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

    >>> rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.full((1, 3), 0.5)
    >>> rk.lambda_returns(rewards, values, torch.ones(1, 3, dtype=torch.bool), lam=0.5)
    tensor([[0.6250, 0.7500, 1.0000]])
    """
    given = (rewards, values, mask, dones, next_values)
    return _gae("lambda_returns", given, gamma, lam, cu_seqlens, impl)[1]  # type: ignore[return-value]


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

    >>> rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.full((1, 3), 0.5)
    >>> rk.vtrace(torch.zeros(1, 3), rewards, values, torch.ones(1, 3, dtype=torch.bool))
    (tensor([[1., 1., 1.]]), tensor([[0.5000, 0.5000, 0.5000]]))
    """
    others = {"rewards": rewards, "values": values, "mask": mask, "dones": dones, "next_values": next_values}
    _fit("vtrace", {"log_ratios": log_ratios, **others}, cu_seqlens, gamma=gamma, lam=lam)
    arguments.number("vtrace", "rho_clip", rho_clip, least=0, above=True)
    arguments.number("vtrace", "trace_clip", trace_clip, least=0)
    options = {
        "gamma": gamma,
        "lam": lam,
        "rho_clip": rho_clip,
        "trace_clip": trace_clip,
        "cu_seqlens": cu_seqlens,
    }
    if torch.compiler.is_compiling() and (
        backend := operators.covering(impl, rewards, log_ratios, values, next_values)
    ):
        return operators.vtrace(backend, log_ratios=log_ratios, **others, **options)
    run = choose("vtrace", impl, (log_ratios, *others.values(), *_tensors(gamma, lam, cu_seqlens)))
    pair: tuple[Tensor, Tensor] = run(log_ratios, **others, **options)
    return pair


NAMES = ("rewards", "values", "mask", "dones", "next_values")
OPTIONAL = ("dones", "next_values")
WANTED = {"gae": (True, True), "discounted_returns": (True, False), "lambda_returns": (False, True)}


def _gae(
    operation: str,
    given: tuple[Tensor, Tensor | None, Tensor, Tensor | None, Tensor | None],
    gamma: float | Tensor,
    lam: float | Tensor,
    cu_seqlens: Tensor | None,
    impl: Impl,
    out: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor | None, Tensor | None]:
    """`gae`, or what of it is WANTED by one of its special cases; given has NAMES, and no values where they are 0."""
    rewards = given[0]
    if (
        impl in ("auto", "native")
        and not torch.compiler.is_compiling()
        and not TURNED_OFF.get()
        and cu_seqlens is None
        and (out is None or _writable(out))
        and (native := quick("scans"))
        and (given[1] is not None or operation == "discounted_returns")
    ):
        said = native.at_once(given, gamma, lam, out, WANTED[operation])
        if said is not None:
            return said  # type: ignore[no-any-return]
    named = dict(zip(NAMES, given, strict=True))
    discounts = {"gamma": gamma, "lam": lam}
    its = {name: one for name, one in named.items() if name != "values" or operation != "discounted_returns"}
    _fit(operation, its, cu_seqlens, **discounts)
    if out is not None:
        _room_fits(operation, out, rewards, accumulation(rewards, given[1], given[4]))
    options = {**named, **discounts, "cu_seqlens": cu_seqlens}
    if torch.compiler.is_compiling() and (backend := operators.covering(impl, rewards, given[1], given[4])):
        pair = operators.gae(backend, **options)
    else:
        pair = choose(operation, impl, (*given, *_tensors(gamma, lam, cu_seqlens)))(**options)
    return pair if out is None else (out[0].copy_(pair[0]), out[1].copy_(pair[1]))


def _tensors(*given: object) -> list[Tensor]:
    return [one for one in given if isinstance(one, Tensor)]


def _writable(out: object) -> bool:
    """Whether this is a pair that results can be put into unless something is unusual about its tensors."""
    if type(out) is not tuple or len(out) != 2:
        return False
    return not (getattr(out[0], "requires_grad", True) or getattr(out[1], "requires_grad", True))


def _fit(
    operation: str, given: dict[str, Tensor | None], cu_seqlens: Tensor | None, **discounts: float | Tensor
) -> None:
    """The tensors of a scan, of which the first says how large all are, go together."""
    arguments.tensors(operation, **{name: one for name, one in given.items() if name not in OPTIONAL})
    (name, first), *_ = given.items()
    assert first is not None
    rows = arguments.rows_of(operation, name, first, cu_seqlens)
    arguments.matching(operation, first, **given)
    arguments.flags(operation, mask=given["mask"], dones=given["dones"])
    arguments.per_row(operation, rows, first, **discounts)


def _room_fits(operation: str, out: tuple[Tensor, Tensor], like: Tensor, dtype: torch.dtype) -> None:
    """Results can be put there as they are."""
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(f"{operation}: out must be a pair of tensors, got {type(out).__name__}")
    for name, one in zip(("out[0]", "out[1]"), out, strict=True):
        arguments.tensors(operation, **{name: one})
        arguments.matching(operation, like, **{name: one})
        if one.dtype != dtype:
            raise TypeError(f"{operation}: {name} is {one.dtype}, expected {dtype}")
        arguments.ordinary(operation, [one])
        if one.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{operation}: {name} requires grad, which results do not have; give its .detach()")
