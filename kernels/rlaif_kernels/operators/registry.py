"""How operators are registered, and which backend's kernels they run."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor
from torch.library import Library

from rlaif_kernels import native
from rlaif_kernels.dispatch import Impl, absent, backend, for_tests, plain
from rlaif_kernels.reference.numbers import accumulation

__all__ = ["covering", "define", "part"]

LIBRARY = Library("rlaif", "DEF")  # type: ignore[no-untyped-call]
BACKENDS = ("cuda", "triton", "native")  # fastest first


def covering(
    impl: str,
    tensor: Tensor,
    *others: Tensor | None,
    names: tuple[str, ...] = BACKENDS,
    **numbers: float | Tensor | None,
) -> str | None:
    """The backend whose operator stands in a graph for what is being traced; None: its definition does.

    For f32, bf16 and f16, unless another tensor makes it f64, a gradient with respect to the temperature may be wanted,
    or a tensor stands for another number.
    """
    if impl == "torch" or (impl == "auto" and plain()):
        return None
    for name, one in numbers.items():
        if isinstance(one, Tensor) and (name != "temperature" or one.requires_grad):
            return None
    if tensor.dtype not in native.KINDS or accumulation(*others) != torch.float32:
        return None
    return _able(impl, tensor.device.type, names)


def _able(impl: str, device: str, names: tuple[str, ...]) -> str | None:
    wanted = [name for name in names if impl == name or (impl == "auto" and not for_tests(name))]
    return next((name for name in wanted if absent(name) is None and device == backend(name).DEVICE), None)


_able._dynamo_marked_constant = True  # type: ignore[attr-defined]  # noqa: SLF001  as for `plain`


def part(name: str, topic: str) -> Any:
    """The module of a backend that has the functions of one topic."""
    assert name in get_args(Impl)
    return importlib.import_module(f"rlaif_kernels.{name}.{topic}")


def define(
    name: str, arguments: str, results: str, run: Callable[..., Any], fake: Callable[..., Any], autograd: Any = None
) -> None:
    LIBRARY.define(f"{name}({arguments}) -> {results}", tags=torch.Tag.pt2_compliant_tag)  # type: ignore[no-untyped-call]
    LIBRARY.impl(name, run, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"rlaif::{name}", fake, lib=LIBRARY)
    if autograd is not None:
        backward, setup = autograd
        torch.library.register_autograd(f"rlaif::{name}", backward, setup_context=setup, lib=LIBRARY)
