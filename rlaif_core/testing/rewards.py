"""The contract of a reward source: an outcome an answer, from the rollouts alone, and nothing else touched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from rlaif_core.errors import FeedbackError, PluginError, blame
from rlaif_core.feedback import Outcome, Score, Scored, outcomes_of
from rlaif_core.offers import RewardFunction
from rlaif_core.protocols import RewardSource
from rlaif_core.testing.compare import untouched
from rlaif_core.testing.contract import alike, all_failed, asked_again, check_state, named, per_token, remembered
from rlaif_core.testing.values import awkward_rollouts, wider
from rlaif_core.types import Rollouts


def check_reward(
    source: RewardSource | RewardFunction,
    *,
    meta: Mapping[str, Any] | None = None,
    repeatable: bool = True,
    pointwise: bool = True,
    tolerance: float = 1e-5,
) -> None:
    """Check a reward source, or a `@reward` function with its default options.

    `meta` stands for the dataset columns it reads. `repeatable=False` allows chance and memory, `pointwise=False`
    allows scores that depend on the other answers of the batch. Scores within `tolerance` count as equal.
    """
    source = source.build()() if isinstance(source, RewardFunction) else source
    part = named(source, "score")
    start = remembered(source)
    batches = awkward_rollouts(meta)
    first = {name: _scored(source, part, rollouts, name) for name, rollouts in batches.items()}
    plain = batches["an ordinary batch"]
    if reasons := all_failed(first["an ordinary batch"]):
        raise PluginError(f"{part} failed on every answer of an ordinary batch: {reasons}")
    if repeatable:
        asked_again(part, first, lambda name: _scored(source, part, batches[name], name), tolerance)
        for situation, same in (
            ("when the batch is padded wider", wider(plain)),
            ("when the groups are numbered otherwise", replace(plain, group=plain.group + 5)),
        ):
            its = _scored(source, part, same, f"an ordinary batch, {situation}")
            complaint = f"{part} scores the same answer differently {situation}"
            alike(complaint, first["an ordinary batch"], its, tolerance)
    if pointwise:
        rows = list(reversed(range(len(plain))))
        mirrored = _scored(source, part, plain.take(rows), "an ordinary batch in reverse order")
        alone = [_scored(source, part, plain.take([row]), "one answer by itself")[0] for row in rows]
        expected = [first["an ordinary batch"][row] for row in rows]
        for situation, said in (("when the batch is reversed", mirrored), ("when it comes alone", alone)):
            alike(f"{part} scores the same answer differently {situation}", expected, said, tolerance)
    check_state(source, start)


def _scored(source: RewardSource, part: str, rollouts: Rollouts, batch: str) -> tuple[Outcome, ...]:
    with blame(f"{part} on {batch}"), untouched(part, rollouts=rollouts):
        try:
            said = source.score(rollouts)
            outcomes = outcomes_of(said.outcomes if isinstance(said, Scored) else said, len(rollouts))
        except FeedbackError as error:
            raise PluginError(f"{part}: {error}") from error
        if isinstance(said, Scored):
            _check_tokens(part, said.tokens, outcomes, rollouts)
    return outcomes


def _check_tokens(part: str, tokens: Tensor, outcomes: Sequence[Outcome], rollouts: Rollouts) -> None:
    per_token(f"{part}: its tensor of token scores", tokens, rollouts)
    for row, (outcome, total) in enumerate(zip(outcomes, tokens.sum(1).tolist(), strict=True)):
        if isinstance(outcome, Score) and not math.isclose(outcome.value, total, rel_tol=1e-4, abs_tol=1e-4):
            raise PluginError(f"{part}: answer {row} scored {outcome.value}, but its token scores sum to {total}")
