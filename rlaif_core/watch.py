"""`rlaif run --strict`: find the stage that writes into a value which an earlier stage made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from rlaif_core.errors import PluginError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


class Watch:
    """Compares each tensor's version counter before and after a stage; does nothing unless `strict`."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict

    def over(self, stage: str, work: Callable[[], T], *values: Any) -> T:
        """Run `work`; raise if it wrote in place into a tensor of `values`."""
        if not self.strict:
            return work()
        before = [(name, tensor, tensor._version) for value in values for name, tensor in tensors(value)]
        result = work()
        for name, tensor, version in before:
            if tensor._version != version:
                raise PluginError(
                    f"stage {stage!r} wrote in place into {name}; values are frozen, so make a new tensor"
                )
        return result


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
