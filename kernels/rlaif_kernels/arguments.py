"""What is wrong with arguments, said before anything is computed: whose it is, what it is, what was expected."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "flags",
    "matching",
    "number",
    "offsets",
    "one_of",
    "per_row",
    "rows_of",
    "shape",
    "tensors",
    "token_ids",
    "transform",
]


def shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def tensors(operation: str, **given: object) -> None:
    """What must be there: an address is taken of it."""
    for name, one in given.items():
        if not isinstance(one, Tensor):
            raise TypeError(f"{operation}: {name} must be a tensor, got {type(one).__name__}")


def matching(operation: str, first: Tensor, **others: Tensor | None) -> None:
    """Of the same shape, on the same device."""
    for name, tensor in others.items():
        if tensor is not None and tensor.shape != first.shape:
            raise ValueError(f"{operation}: {name} is {shape(tensor)}, expected {shape(first)}")
        if tensor is not None and tensor.device != first.device:
            raise ValueError(f"{operation}: {name} is on {tensor.device}, expected {first.device}")


def flags(operation: str, **tensors: Tensor | None) -> None:
    for name, tensor in tensors.items():
        if tensor is not None and tensor.dtype != torch.bool:
            raise TypeError(f"{operation}: {name} must be bool, got {tensor.dtype}")


def token_ids(operation: str, name: str, ids: Tensor) -> None:
    if ids.dtype != torch.int64:
        raise TypeError(f"{operation}: {name} are token ids in int64, got {ids.dtype}")


def number(operation: str, name: str, given: float, *, least: float, above: bool = False) -> None:
    if not (given > least if above else given >= least):
        raise ValueError(f"{operation}: {name} must be {'above' if above else 'at least'} {least:g}, got {given}")


def one_of(operation: str, name: str, given: object, names: Sequence[str]) -> None:
    if given not in names:
        raise ValueError(f"{operation}: unknown {name} {given!r}; choose from {', '.join(names)}")


def transform(operation: str, temperature: float | Tensor, softcap: float | None) -> None:
    """What makes z of logits."""
    if not isinstance(temperature, Tensor):
        number(operation, "temperature", temperature, least=0, above=True)
    if softcap is not None and not softcap > 0:
        raise ValueError(f"{operation}: softcap must be above 0 or None, got {softcap}")


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
    if cu_seqlens.ndim != 1 or len(cu_seqlens) == 0 or cu_seqlens.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"{operation}: cu_seqlens must be [B+1] int32 or int64, got {shape(cu_seqlens)}")
    if cu_seqlens.device != packed.device:
        raise ValueError(f"{operation}: cu_seqlens is on {cu_seqlens.device}, expected {packed.device}")
    if not cu_seqlens.is_cpu or torch.compiler.is_compiling():
        return
    if int(cu_seqlens[0]) != 0 or int(cu_seqlens[-1]) != len(packed) or bool((cu_seqlens.diff() < 0).any()):
        raise ValueError(f"{operation}: cu_seqlens must rise from 0 to {len(packed)}, got {_few(cu_seqlens)}")


def per_row(operation: str, rows: int, like: Tensor, **numbers: float | Tensor) -> None:
    for name, given in numbers.items():
        if isinstance(given, Tensor) and given.shape != (rows,):
            raise ValueError(f"{operation}: {name} is {shape(given)}, expected a number or one for each of {rows} rows")
        if isinstance(given, Tensor) and given.device != like.device:
            raise ValueError(f"{operation}: {name} is on {given.device}, expected {like.device}")


def _few(tensor: Tensor) -> str:
    return str(tensor.tolist()) if len(tensor) <= 8 else f"{tensor[:8].tolist()}..."
