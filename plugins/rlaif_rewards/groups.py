"""The answers to one prompt, as rows of a batch."""

from __future__ import annotations

from rlaif_core import Rollouts


def members(rollouts: Rollouts) -> list[list[int]]:
    """Rows of the answers to each prompt, in the order in which the prompts come."""
    rows: dict[int, list[int]] = {}
    for row, group in enumerate(rollouts.group.tolist()):
        rows.setdefault(group, []).append(row)
    return list(rows.values())
