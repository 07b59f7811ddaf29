"""Several checkpoints as one whose weights are the mean of theirs (WARM: Rame et al. 2024, Weight averaged reward
models), which costs no more than one when it is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from rlaif_core import ConfigError
from rlaif_rewards.checkpoint import Checkpoint


@torch.no_grad()
def averaged(checkpoints: Iterable[Checkpoint], sources: Sequence[str]) -> Checkpoint:
    """The first checkpoint, its weights now the mean of all; they are taken one by one.

    Refused: other architectures, labels or vocabularies than the first's. The mean of copies is the copy, bit for bit,
    for it is taken in float64.
    """
    loaded: Iterator[Checkpoint] = iter(checkpoints)
    first = next(loaded)
    weights = dict(first.model.named_parameters())
    sums = {name: weight.double() for name, weight in weights.items()}
    for source, other in zip(sources[1:], loaded, strict=True):
        _insist_alike(first, other, sources[0], source)
        for name, weight in other.model.named_parameters():
            sums[name] += weight.double()
    for name, weight in weights.items():
        weight.copy_(sums[name] / len(sources))
    return first


def _insist_alike(first: Checkpoint, other: Checkpoint, ours: str, theirs: str) -> None:
    shapes = [{name: tuple(p.shape) for name, p in its.model.named_parameters()} for its in (first, other)]
    differing = sorted(name for name in {*shapes[0], *shapes[1]} if shapes[0].get(name) != shapes[1].get(name))
    complaints = (
        (type(first.model) is type(other.model), f"a {type(other.model).__name__}, not a {type(first.model).__name__}"),
        (not differing, f"of another shape, first in {differing[0] if differing else ''}"),
        (first.labels == other.labels, f"one with the labels {', '.join(other.labels)}"),
        (first.tokeniser.get_vocab() == other.tokeniser.get_vocab(), "one with another vocabulary"),
    )
    for holds, what in complaints:
        if not holds:
            raise ConfigError(
                f"average: {theirs!r} is {what}, so that its weights are no neighbours of those of {ours!r}; average "
                "models that were trained from one start, or combine what they say"
            )
