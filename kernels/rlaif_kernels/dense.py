"""Linear layers on processors where torch's usual matrix product is slow.

On AMD processors with AVX-512, MKL takes a path of about 100 GFLOP/s a core in float32; oneDNN, which every x86 build
of torch brings along, reaches 220 on Zen 5. On Zen 4, whose units are half as wide, it is a little faster than MKL with
many rows, and much faster with the few of a decode step (`packed`), but not with the gradients. Which path is taken is
decided by facts about the machine and the tensors, never by timing, so that a resumed run computes the same bits as one
that never stopped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rlaif_kernels import fresh
from rlaif_kernels.dispatch import plain

__all__ = ["Dense", "accelerate", "add", "hindrance", "multiplied", "packed", "product"]

# Private operations of torch, in `torch.ops.mkldnn`; `hindrance` looks whether they are there and tries them out.
PRODUCT, ARRANGE = "_linear_pointwise", "_reorder_linear_weight"


class Dense(torch.nn.Linear):
    """`torch.nn.Linear` by oneDNN, where `hindrance()` is None and the tensors are float32 in the CPU's memory.

    Everything else (other dtypes and devices, autocast, torch.compile, `rk.using("torch")`, subclasses of Tensor,
    nothing to compute) goes the way of its base class. Values and gradients of any order agree with it within rounding.
    As with MKL, the last bits of a row's result may depend on how many rows there are (one alone is computed in another
    way).
    """

    arranged: tuple[Tensor, Tensor | None] | None = None
    """Inside `packed`, the weight once more in oneDNN's own layout, and the bias."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  the base class calls it so
        if self.arranged is not None and torch.is_inference_mode_enabled() and _suits(input):
            return _product(input, *self.arranged)
        return _linear(input, self.weight, self.bias)


def accelerate(module: torch.nn.Module) -> int:
    """Turn every plain `torch.nn.Linear` inside `module` into a `Dense`, in place; how many there were.

    0 where `hindrance()` speaks. Parameters, their names and hooks stay what they are. Subclasses are left alone, for
    they may compute something else.
    """
    if hindrance() is not None:
        return 0
    plain = [layer for layer in module.modules() if type(layer) is torch.nn.Linear]
    for layer in plain:
        layer.__class__ = Dense
    return len(plain)


@contextlib.contextmanager
def packed(module: torch.nn.Module) -> Iterator[None]:
    """Inside, each `Dense` of `module` holds a second copy of its weight, arranged for products with a few rows.

    It is used in inference mode alone, where it saves about a third of the time of a decode step. The weights must not
    change inside.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, Dense) and _suits(layer.weight, layer.bias)]
    try:
        for layer in layers:
            layer.arranged = _arranged(layer.weight.detach()), layer.bias
        yield
    finally:
        for layer in layers:
            layer.arranged = None


@cache
def hindrance() -> str | None:
    """Why `Dense` is no more than `torch.nn.Linear` on this machine; None if it is."""
    if not all(backend.is_available() for backend in (torch.backends.mkl, torch.backends.mkldnn)):
        return "this torch was not built with both MKL and oneDNN"
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not _processor().startswith("AMD"):
        return "MKL is fast on this processor"
    if not all(hasattr(torch.ops.mkldnn, name) for name in (PRODUCT, ARRANGE)):
        return "this torch does not offer oneDNN's linear layer"
    return None if _agrees() else "oneDNN's linear layer does not agree with torch's own"


def _processor() -> str:
    """The processor's name, as in "AMD EPYC"; "" where torch does not tell."""
    return str(_capabilities().get("cpu_name", ""))


def _capabilities() -> dict[str, Any]:
    said: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return said


@cache
def _wide() -> bool:
    """Whether the processor's units are as wide as AVX-512's registers: Zen 5 has both that and AVX-VNNI."""
    return bool(_capabilities().get("avx_vnni"))


def _agrees() -> bool:
    """Private operations may change: they are believed only after a small example."""
    numbers = torch.linspace(-1, 1, 30, dtype=torch.float32, device="cpu")
    x, weight, bias = numbers[:12].view(3, 4), numbers[10:].view(5, 4), numbers[:5]
    try:
        said = [_product(x, each, bias) for each in (weight, _arranged(weight))]
    except (RuntimeError, TypeError):
        return False
    wanted = functional.linear(x, weight, bias)
    return all(torch.allclose(each, wanted, rtol=1e-5, atol=1e-6) for each in said)


def _suits(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> bool:
    """Whether oneDNN may compute with these tensors, here and now. It is asked for every layer of every token."""
    return (
        not torch.compiler.is_compiling()  # first, for a compiler shall not look into the rest
        and not plain()
        and hindrance() is None
        and _plain(x)
        and (weight is None or _plain(weight))
        and (bias is None or _plain(bias))
        and not torch.is_autocast_enabled("cpu")
    )


def _plain(tensor: Tensor) -> bool:
    return (
        tensor.dtype is torch.float32
        and tensor.is_cpu
        and type(tensor) in (Tensor, torch.nn.Parameter)
        and tensor.layout is torch.strided
        and tensor.numel() > 0
    )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x [..., I], weight [O,I], bias [O] or None -> x @ weight.T + bias [..., O]."""
    dense = bias if bias is None else bias.contiguous()  # whose stride oneDNN does not look at
    result: Tensor = getattr(torch.ops.mkldnn, PRODUCT)(x, weight, dense, "none", [], "")
    return result


def _arranged(weight: Tensor) -> Tensor:
    """The weight in oneDNN's own layout, which `_product` takes as well."""
    rows = 16  # a hint of how many there will be; all from 4 on lead to the same layout
    result: Tensor = getattr(torch.ops.mkldnn, ARRANGE)(weight, rows)
    return result


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`_product` where that is possible, with gradients."""
    if not _suits(x, weight, bias) or x.shape[-1:] != weight.shape[1:]:
        return functional.linear(x, weight, bias)  # which also says best what is wrong with shapes
    if torch.is_inference_mode_enabled():
        return _product(x, weight, bias)
    result: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return result


class _Linear(torch.autograd.Function):
    """The product with its gradients, which are products too and so differentiable again."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return _product(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def vmap(_info: Any, dimensions: tuple[int | None, ...], *given: Any) -> tuple[Tensor, int]:
        return torch.vmap(functional.linear, dimensions)(*given), 0

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        rows, inputs = slope.reshape(-1, slope.shape[-1]), x.reshape(-1, x.shape[-1])
        return (
            inner(slope, weight) if wants_x else None,
            outer(rows, inputs) if wants_weight else None,
            rows.sum(0) if wants_bias else None,
        )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [N,I], weight [O,I], bias [O] -> x @ weight.T + bias [N,O] by the faster of the two; not differentiable."""
    return _product(x, weight, bias) if _suits(x, weight, bias) else functional.linear(x, weight, bias)


def inner(slope: Tensor, weight: Tensor) -> Tensor:
    """slope [..., O], weight [O,I] -> slope @ weight [..., I]."""
    return _linear(slope, weight.t()) if _wide() else slope @ weight


def outer(rows: Tensor, inputs: Tensor) -> Tensor:
    """rows [N,O], inputs [N,I] -> rows.T @ inputs [O,I]; oneDNN is a quarter faster if its result is the taller way."""
    if not _wide():
        return rows.t() @ inputs
    if rows.shape[1] > inputs.shape[1]:
        return _linear(inputs.t(), rows.t()).t()
    return _linear(rows.t(), inputs.t())


def multiplied(left: Tensor, right: Tensor) -> Tensor:
    """left [N,K] @ right [K,M] -> [N,M], f32 on the CPU; not differentiable."""
    if _wide() and _suits(left, right):
        return inner(left, right) if left.stride(1) == 1 else outer(left.t(), right)
    return torch.mm(left, right, out=fresh.empty(len(left), right.shape[1]))


def add(into: Tensor, left: Tensor, right: Tensor) -> None:
    """into [N,M] += left [N,K] @ right [K,M]; not differentiable."""
    if _wide() and _suits(left, right, into):
        into += multiplied(left, right)
    else:
        into.addmm_(left, right)
