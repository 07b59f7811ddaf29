"""Answers by the prompt they answer, and what is known of how they were drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rlaif_core import Rollouts
from rlaif_rewards.words import canonical, last_turn


def grouped(rollouts: Rollouts) -> list[list[int]]:
    """The rows of each group, in the order of their first."""
    rows: dict[int, list[int]] = {}
    for row, group in enumerate(rollouts.group.tolist()):
        rows.setdefault(group, []).append(row)
    return list(rows.values())


def replied(rollouts: Rollouts, rows: Sequence[int]) -> list[str]:
    """The answers of some rows."""
    return [rollouts.completions[row] for row in rows]


def commonness(rollouts: Rollouts) -> list[float]:
    """[B]: the share of the batch's other prompts to which the same words were said; 0 where there are no others.

    Agreement of such answers says little: a policy with one answer for everybody agrees with itself always.
    """
    groups, spelt = grouped(rollouts), [canonical(text) for text in rollouts.completions]
    said = Counter(text for rows in groups for text in {spelt[row] for row in rows})
    others = max(len(groups) - 1, 1)
    return [(said[text] - 1) / others for text in spelt]


def last_turn_logp(rollouts: Rollouts, *, mean: bool) -> list[float]:
    """[B]: the log-prob of each answer, the last of a conversation; the mean over its tokens, or their sum."""
    here = last_turn(rollouts.mask)
    total = rollouts.logp.double().where(here, 0.0).sum(1)
    found: list[float] = (total / here.sum(1).clamp(min=1) if mean else total).tolist()
    return found


def chance_free(rollouts: Rollouts, rows: Sequence[int]) -> bool:
    """Whether the sampler had no choice: every token of these answers was drawn with probability 1."""
    chosen = rollouts.mask[rows]
    return not rollouts.recorded and bool(chosen.any()) and bool((rollouts.logp[rows][chosen] == 0).all())
