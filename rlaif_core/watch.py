"""`rlaif run --strict`: find who writes into a value that an earlier stage made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rlaif_core.errors import PluginError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def watched(strict: bool, *values: Any) -> Iterator[None]:
    """Raise if the block wrote in place into a tensor of `values` (None is none): its version counter has moved.

    Nothing is done unless `strict`.
    """
    before = [
        (name, tensor, tensor._version)
        for value in (values if strict else ())
        if value is not None
        for name, tensor in tensors(value)
    ]
    yield
    for name, tensor, version in before:
        if tensor._version != version:
            raise PluginError(f"it wrote in place into {name}; values are frozen, so make a new tensor")


def tensors(value: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in a value and the values inside it, with a readable name."""
    for field in dataclasses.fields(value):
        item, name = getattr(value, field.name), f"{type(value).__name__}.{field.name}"
        if _counts(item):
            yield name, item
        elif isinstance(item, Mapping):
            yield from ((f"{name}[{key!r}]", its) for key, its in item.items() if _counts(its))
        elif dataclasses.is_dataclass(item):
            yield from tensors(item)


def _counts(item: Any) -> bool:
    """Whether it is a tensor that counts its changes; one made in inference mode does not."""
    import torch

    return isinstance(item, torch.Tensor) and not item.is_inference()
