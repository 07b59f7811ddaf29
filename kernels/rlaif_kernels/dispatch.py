"""Which implementation runs: chosen by name, or the best one that can take these tensors.

An explicit choice works or raises. Only "auto" chooses, and where RLAIF_REQUIRE names a backend that this installation
lacks, "auto" raises as well: a missing compiler shall not turn into a slow run that nobody noticed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

from torch import Tensor
from torch import __version__ as torch_version

from rlaif_kernels import logprob, native, reference

__all__ = ["Impl", "ImplementationError", "build_info", "choose", "implementations", "unmet_requirements"]

Impl = Literal["auto", "torch", "native", "cuda", "triton"]

# Operation -> implementation -> function, fastest first.
TABLE: dict[str, dict[str, Callable[..., Any]]] = {
    "token_logprobs": {"native": logprob.token_logprobs, "torch": reference.token_logprobs},
    "gae": {"native": native.gae, "torch": reference.gae},
    "masked_whiten": {"torch": reference.masked_whiten},
}
NOTHING: Mapping[str, str | None] = {}
# What is a special case of another operation and runs wherever that does.
SPECIAL_CASES = {"discounted_returns": "gae"}

REMEDY = {
    "native": "reinstall with a C++ compiler present; RLAIF_REQUIRE=native pip install --no-cache-dir rlaif-core "
    "shows why the build fails",
    "cuda": "use impl='auto'",
    "triton": "use impl='auto'",
}


class ImplementationError(RuntimeError):
    """The implementation asked for, or required, cannot run here; the message says why and what to do."""


def absent(backend: str) -> str | None:
    """Why a backend is not there at all; None if it is."""
    if backend == "native":
        return native.missing
    return None if backend == "torch" else f"this version has no {backend} kernels"


def unmet_requirements() -> dict[str, str]:
    """The backends RLAIF_REQUIRE asks for (comma-separated) and this installation lacks: name -> reason."""
    wanted = [name.strip() for name in os.environ.get("RLAIF_REQUIRE", "").split(",") if name.strip()]
    unknown = "no such backend; there are " + ", ".join(get_args(Impl)[1:])
    reasons = {name: absent(name) if name in get_args(Impl) else unknown for name in wanted}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def implementations(operation: str) -> list[str]:
    """The implementations of an operation that can run in this installation, best first."""
    return [name for name in _offered(operation) if absent(name) is None]


def choose(
    operation: str, impl: str, tensors: Sequence[Tensor | None], unfit: Mapping[str, str | None] = NOTHING
) -> Callable[..., Any]:
    """The function that computes `operation` on these tensors; `unfit` says why some implementations cannot.

    Raises ValueError for a name that is no implementation, ImplementationError for one that cannot run.
    """
    offered = _offered(operation)
    if impl == "auto":
        for name, reason in unmet_requirements().items():
            remedy = REMEDY.get(name, "correct the variable")
            raise ImplementationError(f"RLAIF_REQUIRE asks for {name!r}: {reason}; {remedy}, or unset RLAIF_REQUIRE")
        return next(offered[name] for name in offered if _hindrance(name, tensors, unfit) is None)
    if impl not in get_args(Impl):
        raise ValueError(f"{operation}: unknown impl {impl!r}; choose from " + ", ".join(get_args(Impl)))
    if impl not in offered:
        here = ", ".join(implementations(operation))
        raise ImplementationError(f"{operation} has no {impl!r} implementation; here it runs as: {here}")
    hindrance = _hindrance(impl, tensors, unfit)
    if hindrance is not None:
        remedy = "use impl='auto'" if absent(impl) is None else REMEDY[impl]
        raise ImplementationError(f"{operation}: impl={impl!r} cannot run: {hindrance}; {remedy}")
    return offered[impl]


def build_info() -> dict[str, str]:
    """Backend -> how it was built, or why it is absent: what belongs in a bug report."""
    info = {"torch": str(torch_version)}
    for backend in get_args(Impl)[2:]:
        reason = absent(backend)
        info[backend] = f"absent: {reason}" if reason else ", ".join(native.build_info().values())
    return info


def _offered(operation: str) -> dict[str, Callable[..., Any]]:
    try:
        return TABLE[SPECIAL_CASES.get(operation, operation)]
    except KeyError:
        known = ", ".join(sorted([*TABLE, *SPECIAL_CASES]))
        raise ValueError(f"no operation {operation!r}; there are {known}") from None


def _hindrance(name: str, tensors: Sequence[Tensor | None], unfit: Mapping[str, str | None]) -> str | None:
    """What keeps an implementation from running on these tensors; None if nothing does."""
    return absent(name) or (native.refuses(tensors) if name == "native" else None) or unfit.get(name)
