"""Which of several answers mean the same, and how much of the probability each meaning has.

Links between answers are made symmetric and closed by union-find, so that neither their order nor an odd link that is
not transitive decides who ends up with whom.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence


def components(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """The connected component of each of `count` items: [count] numbers, from 0 in the order of first members."""
    parent = list(range(count))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    for one, other in links:
        parent[root(one)] = root(other)
    return numbered([root(item) for item in range(count)])


def numbered(keys: Sequence[Hashable]) -> list[int]:
    """Equal keys by one number: [len(keys)], from 0 in the order of first occurrence."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def mutual(count: int, holds: Callable[[int, int], bool]) -> list[tuple[int, int]]:
    """The pairs for which `holds` is true in both directions."""
    return [
        (one, other)
        for one in range(count)
        for other in range(one + 1, count)
        if holds(one, other) and holds(other, one)
    ]


def masses(labels: Sequence[int], log_weights: Sequence[float] | None = None) -> dict[int, float]:
    """The share of each label, summing to 1: of the items, or of exp(log_weights), whatever their size.

    The largest log-weight is taken off before exponentials are, so that those of long answers do not all become 0.
    """
    weights = [1.0] * len(labels)
    if log_weights is not None and labels:
        largest = max(log_weights)
        weights = [math.exp(weight - largest) for weight in log_weights]
    total = math.fsum(weights)
    return {
        label: math.fsum(weight for its, weight in zip(labels, weights, strict=True) if its == label) / total
        for label in dict.fromkeys(labels)
    }


def entropy(shares: Iterable[float]) -> float:
    """-sum p log p in nats, at least 0; a share of 0 adds nothing."""
    return max(0.0, -math.fsum(share * math.log(share) for share in shares if share > 0))
