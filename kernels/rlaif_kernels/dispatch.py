"""Which implementation runs: chosen by name, or the best one that can take these tensors.

`with using("torch"):` turns others off. An explicit choice works or raises. Only "auto" chooses, and where
RLAIF_REQUIRE names a backend that this installation lacks, "auto" raises as well: a missing compiler shall not turn
into a slow run that nobody noticed.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch import __version__ as torch_version

from rlaif_kernels import arguments, reference

__all__ = [
    "TURNED_OFF",
    "Impl",
    "ImplementationError",
    "absent",
    "backend",
    "build_info",
    "choose",
    "for_tests",
    "implementations",
    "plain",
    "quick",
    "unmet_requirements",
    "using",
]

Impl = Literal["auto", "torch", "native", "cuda", "triton"]
REQUIRED = os.environ.get("RLAIF_REQUIRE", "")
"""The backends without which nothing shall run by itself; read once, when this is imported."""

# Operation -> the implementations it has beside its definition, fastest first. `rlaif_kernels.<name>.<topic>` is
# imported when it is first asked for, and holds a function of the operation's name.
TABLE: dict[str, tuple[str, tuple[str, ...]]] = {
    "attention_column": ("attention", ("native",)),
    "gae": ("scans", ("cuda", "triton", "native")),
    "group_normalise": ("normalise", ("native",)),
    "kept_logprobs": ("linear", ("cuda", "triton", "native")),
    "kl_estimate": ("losses", ()),
    "linear_logprobs": ("linear", ("cuda", "triton", "native")),
    "linear_policy_loss": ("linear", ("cuda", "triton", "native")),
    "masked_whiten": ("normalise", ("cuda", "triton", "native")),
    "policy_loss": ("losses", ("cuda", "native")),
    "sharded_logprobs": ("logprobs", ("cuda", "triton", "native")),
    "token_logprobs": ("logprobs", ("cuda", "triton", "native")),
    "vtrace": ("scans", ("cuda", "triton", "native")),
}
NOTHING: Mapping[str, str | None] = {}
TURNED_OFF = ContextVar("TURNED_OFF", default=False)
"""Whether `using` has turned off all but the definitions; for what a compiler may look into, `plain()`."""
# What is a special case of another operation and runs wherever that does.
SPECIAL_CASES = {"discounted_returns": "gae", "lambda_returns": "gae"}

REMEDY = {
    "native": "reinstall with a C++ compiler present; RLAIF_REQUIRE=native pip install --no-cache-dir rlaif-core "
    "shows why the build fails",
    "cuda": "reinstall with nvcc present, where torch sees a device",
    "triton": "install triton, where torch sees a device",
}


class ImplementationError(RuntimeError):
    """The implementation asked for, or required, cannot run here; the message says why and what to do."""


@cache
def backend(name: str) -> Any:
    """The package of a backend: `missing`, why it is not there (None: it is), `refuses(tensors)` and `build_info()`."""
    return importlib.import_module(f"rlaif_kernels.{name}")


def absent(name: str) -> str | None:
    """Why a backend is not there at all; None if it is."""
    missing: str | None = None if name == "torch" else backend(name).missing
    return missing


def unmet_requirements() -> dict[str, str]:
    """The backends RLAIF_REQUIRE asks for (comma-separated) and this installation lacks: name -> reason."""
    wanted = [name.strip() for name in REQUIRED.split(",") if name.strip()]
    unknown = "no such backend; there are " + ", ".join(get_args(Impl)[1:])
    reasons = {name: absent(name) if name in get_args(Impl) else unknown for name in wanted}
    return {name: reason for name, reason in reasons.items() if reason is not None}


@contextmanager
def using(impl: Literal["auto", "torch"]) -> Iterator[None]:
    """What `impl="auto"` means inside, in this thread: "torch", the definitions, or "auto", the best that can run.

    It also turns off `Dense` and the decoder of `llama`. A graph that torch.compile has made stays what it is.
    """
    if impl not in ("auto", "torch"):
        raise ValueError(f"using: unknown impl {impl!r}; choose from auto, torch")
    before = TURNED_OFF.set(impl == "torch")
    try:
        yield
    finally:
        TURNED_OFF.reset(before)


def plain() -> bool:
    """Whether `using` has turned off all but the definitions."""
    return TURNED_OFF.get()


# What torch.compiler.assume_constant_result does, which would import the compiler: it cannot look into a context.
plain._dynamo_marked_constant = True  # type: ignore[attr-defined]  # noqa: SLF001


@cache
def quick(topic: str) -> Any:
    """The binary's functions for small operations on the CPU, where "auto" need not look further; None without it."""
    ready = backend("native").quick and not unmet_requirements()
    return importlib.import_module(f"rlaif_kernels.native.{topic}") if ready else None


def implementations(operation: str) -> list[str]:
    """The implementations of an operation that can run in this installation, best first."""
    return [name for name in offered(operation) if absent(name) is None]


def choose(
    operation: str, impl: str, tensors: Sequence[Tensor | None], unfit: Mapping[str, str | None] = NOTHING
) -> Callable[..., Any]:
    """The function that computes `operation`, or what it is a special case of, on these tensors.

    `unfit` says why some implementations cannot.

    Raises ValueError for a name that is no implementation, ImplementationError for one that cannot run.
    """
    if torch.compiler.is_compiling() and impl in ("auto", "torch"):
        # What a compiler shall not look into stands in `operators`; it sees definitions, and chooses for itself.
        return getattr(reference, SPECIAL_CASES.get(operation, operation))  # type: ignore[no-any-return]
    names = offered(operation)
    if impl == "auto" and plain():
        impl = "torch"
    if impl == "auto":
        for name, reason in unmet_requirements().items() if REQUIRED else ():
            remedy = REMEDY.get(name, "correct the variable")
            raise ImplementationError(f"RLAIF_REQUIRE asks for {name!r}: {reason}; {remedy}, or unset RLAIF_REQUIRE")
        able = (name for name in names if not for_tests(name) and _hindrance(name, tensors, unfit) is None)
        impl = next(able)
        if impl != "torch":
            return _function(operation, impl)
    if impl not in get_args(Impl):
        raise ValueError(f"{operation}: unknown impl {impl!r}; choose from " + ", ".join(get_args(Impl)))
    if impl not in names:
        here = ", ".join(implementations(operation))
        raise ImplementationError(f"{operation} has no {impl!r} implementation; here it runs as: {here}")
    hindrance = _hindrance(impl, tensors, unfit)
    if hindrance is not None:
        remedy = "use impl='auto'" if absent(impl) is None else f"{REMEDY[impl]}, or use impl='auto'"
        raise ImplementationError(f"{operation}: impl={impl!r} cannot run: {hindrance}; {remedy}")
    if impl == "torch":
        arguments.ordinary(operation, tensors)
    return _function(operation, impl)


def build_info() -> dict[str, str]:
    """Backend -> how it was built, or why it is absent: what belongs in a bug report."""
    info = {"torch": str(torch_version)}
    for name in get_args(Impl)[2:]:
        reason = absent(name)
        info[name] = f"absent: {reason}" if reason else ", ".join(backend(name).build_info().values())
    return info


def offered(operation: str) -> tuple[str, ...]:
    """The implementations an operation has, best first, whether they can run here or not."""
    try:
        return (*TABLE[SPECIAL_CASES.get(operation, operation)][1], "torch")
    except KeyError:
        known = ", ".join(sorted([*TABLE, *SPECIAL_CASES]))
        raise ValueError(f"no operation {operation!r}; there are {known}") from None


@cache
def _function(operation: str, name: str) -> Callable[..., Any]:
    folder = "reference" if name == "torch" else name
    general = SPECIAL_CASES.get(operation, operation)
    module = importlib.import_module(f"rlaif_kernels.{folder}.{TABLE[general][0]}")
    function: Callable[..., Any] = getattr(module, general)
    return function


def for_tests(name: str) -> bool:
    """Whether a backend is there to be tested alone: the interpreter of Triton, which nobody shall wait for unasked."""
    return name == "triton" and bool(backend(name).interpreted)


def _hindrance(name: str, tensors: Sequence[Tensor | None], unfit: Mapping[str, str | None]) -> str | None:
    """What keeps an implementation from running on these tensors; None if nothing does."""
    if name == "torch":
        return unfit.get(name)
    return absent(name) or backend(name).refuses(tensors) or unfit.get(name)
