"""Noticing what a part did to its inputs: every tensor and plain value inside a value, before and after a call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from rlaif_core.errors import PluginError


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Everything inside `value` that is not a container, each under the path that leads to it."""
    if is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from leaves(getattr(value, part.name), f"{path}.{part.name}")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from leaves(item, f"{path}[{name!r}]")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for number, item in enumerate(value):
            yield from leaves(item, f"{path}[{number}]")
    elif hasattr(value, "tolist") and not isinstance(value, Tensor):  # an array or number of NumPy, in a dataset's row
        yield from leaves(value.tolist(), path)
    else:
        yield path, value


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit, for tensors; equal, for anything else. NaN equals NaN."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())
    return type(one) is type(other) and (bool(one == other) or bool(one != one and other != other))


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The first path at which two sets of leaves differ."""
    for path in {**before, **after}:
        if path not in before or path not in after or not same(before[path], after[path]):
            return path
    return None


def snapshot(value: Any, path: str) -> dict[str, Any]:
    """A copy of the leaves of `value`, which later writes cannot reach."""
    return {at: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf for at, leaf in leaves(value, path)}


@contextmanager
def untouched(part: str, **values: Any) -> Iterator[None]:
    """Raise if `part` changed one of `values` while it ran."""
    before = {name: snapshot(value, name) for name, value in values.items()}
    yield
    for name, value in values.items():
        if path := difference(before[name], snapshot(value, name)):
            raise PluginError(f"{part} changed its input {path} in place; copy it first")
