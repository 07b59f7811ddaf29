"""What is wrong with arguments, said before anything is computed: whose it is, what it is, what was expected."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Real

import torch
from torch import Tensor

from rlaif_kernels.native import WRAPPED

__all__ = [
    "flags",
    "known",
    "matching",
    "number",
    "offsets",
    "one_of",
    "ordinary",
    "per_row",
    "predicted",
    "rows_of",
    "same_device",
    "shape",
    "tensors",
    "token_ids",
    "transform",
]


PLAIN = (Tensor, torch.nn.Parameter)


def shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def tensors(operation: str, **given: object) -> None:
    """What must be there: an address is taken of it."""
    for name, one in given.items():
        if not isinstance(one, Tensor):
            raise _no_tensor(operation, name, one)
        if one.is_nested:  # whose shape cannot be asked
            ordinary(operation, [one])


def ordinary(operation: str, given: Iterable[Tensor | None]) -> None:
    """Raise TypeError for tensors whose numbers do not lie in memory one by one, which only some of torch can take."""
    for tensor in given if not torch.compiler.is_compiling() else ():
        if tensor is None:
            continue
        odd = "quantized" if tensor.is_quantized else "nested" if tensor.is_nested else None
        if tensor.layout != torch.strided:
            odd = str(tensor.layout)
        elif type(tensor) in PLAIN and not WRAPPED(tensor) and not tensor.is_meta and tensor.data_ptr() == 0:
            # Zeros that autograd makes have none either, but torch knows how to reckon with them.
            odd = "freed" if tensor.numel() > 0 and not tensor._is_zerotensor() else odd  # noqa: SLF001
        if odd is not None:
            raise TypeError(f"{operation}: takes dense tensors that have memory, and got one that is {odd}")


def matching(operation: str, first: Tensor, **others: Tensor | None) -> None:
    """Of the same shape, on the same device."""
    for name, tensor in others.items():
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor):
            raise _no_tensor(operation, name, tensor)
        if tensor.is_nested:
            ordinary(operation, [tensor])
        if tensor.shape != first.shape:
            raise ValueError(f"{operation}: {name} is {shape(tensor)}, expected {shape(first)}")
        if tensor.device != first.device:
            raise _elsewhere(operation, name, tensor, first)


def same_device(operation: str, first: Tensor, **others: object) -> None:
    for name, one in others.items():
        if isinstance(one, Tensor) and one.device != first.device:
            raise _elsewhere(operation, name, one, first)


def flags(operation: str, **tensors: Tensor | None) -> None:
    for name, tensor in tensors.items():
        if tensor is not None and tensor.dtype != torch.bool:
            raise TypeError(f"{operation}: {name} must be bool, got {tensor.dtype}")


def token_ids(operation: str, name: str, ids: Tensor) -> None:
    if ids.dtype != torch.int64:
        raise TypeError(f"{operation}: {name} are token ids in int64, got {ids.dtype}")


def known(
    operation: str, name: str, ids: Tensor, vocabulary: int, *, none: int | None, remedy: str | None = None
) -> None:
    """Raise IndexError where ids are not in the vocabulary; asked when something went wrong, for it takes its time.

    none: what may stand for no token; None: whatever is below 0. Nothing is said of ids that nobody can look at here.
    """
    if type(ids) is not Tensor or not ids.is_cpu or WRAPPED(ids):
        return
    wrong = ids >= vocabulary if none is None else ((ids < 0) | (ids >= vocabulary)) & (ids != none)
    places = wrong.nonzero().tolist()
    if places:
        its = f"{name}{places[0] or ''} is {int(ids[tuple(places[0])])}"
        more = f" (and {len(places) - 1} more are wrong)" if len(places) > 1 else ""
        remedy = remedy or f"where nothing is asked, give ignore_index, {none}"
        raise IndexError(f"{operation}: {its}, not in a vocabulary of {vocabulary}{more}; {remedy}") from None


def predicted(operation: str, name: str, given: Tensor, targets: Tensor) -> None:
    """For each of the targets [...] a vector: logits, say, or hidden states."""
    if not (isinstance(given, Tensor) and isinstance(targets, Tensor)):  # looked at first: it takes half the time
        tensors(operation, **{name: given, "targets": targets})
    try:
        fits = given.ndim > 0 and given.shape[:-1] == targets.shape
    except RuntimeError:
        ordinary(operation, [given, targets])
        raise
    if not fits:
        raise ValueError(f"{operation}: {name} {shape(given)} do not go with targets {shape(targets)}")
    token_ids(operation, "targets", targets)
    if targets.device != given.device:
        raise _elsewhere(operation, "targets", targets, given)


def number(operation: str, name: str, given: float, *, least: float, above: bool = False) -> None:
    _real(operation, name, given)
    if not (given > least if above else given >= least):
        raise ValueError(f"{operation}: {name} must be {'above' if above else 'at least'} {least:g}, got {given}")


def _real(operation: str, name: str, given: object) -> None:
    if not (isinstance(given, (float, int, Real)) or (isinstance(given, Tensor) and given.ndim == 0)):
        raise TypeError(f"{operation}: {name} must be a number, got {type(given).__name__}")


def one_of(operation: str, name: str, given: object, names: Sequence[str]) -> None:
    if given not in names:
        raise ValueError(f"{operation}: unknown {name} {given!r}; choose from {', '.join(names)}")


def transform(
    operation: str, targets: Tensor, temperature: float | Tensor, softcap: float | None, scale: float, ignore_index: int
) -> None:
    """What makes z of the logits of the targets [...]."""
    if isinstance(temperature, Tensor):
        tensors(operation, temperature=temperature)
        same_device(operation, targets, temperature=temperature)
        room = shape(targets)[max(targets.ndim - temperature.ndim, 0) :]
        if len(room) != temperature.ndim or any(a not in (1, b) for a, b in zip(temperature.shape, room, strict=True)):
            expected = f"expected a number or {shape(targets)}"
            raise ValueError(f"{operation}: temperature is {shape(temperature)}, {expected}")
    else:
        number(operation, "temperature", temperature, least=0, above=True)
    if softcap is not None:
        _real(operation, "softcap", softcap)
        traced = isinstance(softcap, Tensor) and torch.compiler.is_compiling()  # whose value nobody knows yet
        if not traced and not 0 < softcap < math.inf:
            raise ValueError(f"{operation}: softcap must be above 0 or None, got {softcap}")
    _real(operation, "scale", scale)
    if not isinstance(scale, Tensor) and not abs(scale) < math.inf:
        raise ValueError(f"{operation}: scale must be finite, got {scale}")
    if not isinstance(ignore_index, int):
        raise TypeError(f"{operation}: ignore_index must be an int, got {type(ignore_index).__name__}")


def rows_of(operation: str, name: str, tensor: Tensor, cu_seqlens: Tensor | None) -> int:
    """How many rows there are: [B,T], or with `cu_seqlens` [B+1] all in one [N]."""
    if cu_seqlens is None:
        if tensor.ndim != 2:
            raise ValueError(f"{operation}: {name} must be [B,T], got {shape(tensor)}")
        return len(tensor)
    if tensor.ndim != 1:
        raise ValueError(f"{operation}: with cu_seqlens, {name} must be [N], got {shape(tensor)}")
    offsets(operation, cu_seqlens, tensor)
    return len(cu_seqlens) - 1


def offsets(operation: str, cu_seqlens: Tensor, packed: Tensor) -> None:
    """Where each of B sequences begins in [N], and N. Their values are looked at where that waits for no device."""
    tensors(operation, cu_seqlens=cu_seqlens)
    if cu_seqlens.ndim != 1 or len(cu_seqlens) == 0 or cu_seqlens.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"{operation}: cu_seqlens must be [B+1] int32 or int64, got {shape(cu_seqlens)}")
    if cu_seqlens.device != packed.device:
        raise _elsewhere(operation, "cu_seqlens", cu_seqlens, packed)
    if not cu_seqlens.is_cpu or torch.compiler.is_compiling():
        return
    if int(cu_seqlens[0]) != 0 or int(cu_seqlens[-1]) != len(packed) or bool((cu_seqlens.diff() < 0).any()):
        raise ValueError(f"{operation}: cu_seqlens must rise from 0 to {len(packed)}, got {_few(cu_seqlens)}")


def per_row(operation: str, rows: int, like: Tensor, **numbers: float | Tensor) -> None:
    for name, given in numbers.items():
        if not isinstance(given, Tensor):
            _real(operation, name, given)
            continue
        tensors(operation, **{name: given})
        if given.shape != (rows,):
            raise ValueError(f"{operation}: {name} is {shape(given)}, expected a number or one for each of {rows} rows")
    same_device(operation, like, **numbers)


def _no_tensor(operation: str, name: str, given: object) -> TypeError:
    return TypeError(f"{operation}: {name} must be a tensor, got {type(given).__name__}")


def _elsewhere(operation: str, name: str, tensor: Tensor, first: Tensor) -> ValueError:
    return ValueError(f"{operation}: {name} is on {tensor.device}, expected {first.device}")


def _few(tensor: Tensor) -> str:
    return str(tensor.tolist()) if len(tensor) <= 8 else f"{tensor[:8].tolist()}..."
