"""Several fits of one config, for who averages them or looks at where they disagree.

Members of a transformer differ in the order of rows and in dropout; linear ones, whose fit is without chance, in the
groups that were drawn for them with replacement (bagging; Breiman 1996). With `start = "one"` they begin alike: from
the same weights, or on the same features, so that their weights can be averaged (WARM; Rame et al. 2024).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from rlaif_rewards.fit.config import FitConfig
from rlaif_rewards.fit.data import Labelled, Preferences
from rlaif_rewards.fit.estimate import Estimate, encoder_of, estimate, features_of
from rlaif_rewards.fit.evaluate import Said, gaps_of, judged, said_of_pairs
from rlaif_rewards.fit.train import Trainee, train
from rlaif_rewards.scorer import Instrument

Examples = Labelled | Preferences


def members(config: FitConfig, learnt: Examples, tell: Callable[[str], None]) -> Iterator[Estimate | Trainee]:
    """Each of `[fit] members`, one after the other; one alone is fitted to all rows."""
    count, kind = config.fit.members, config.fit.kind
    if kind == "transformer":
        yield from (train(config, learnt, _of(tell, number, count), member=number) for number in range(count))
        return
    encoder = encoder_of(config) if kind in ("embedding", "stacked") else None
    features = features_of(config, shown_of(learnt), encoder) if config.fit.start == "one" else None
    for number in range(count):
        _of(tell, number, count)("fitting")
        rows = drawn(learnt.groups, f"{config.fit.seed}/{number}") if count > 1 else range(len(learnt))
        yield estimate(config, learnt.take(rows), encoder, features)


def _of(tell: Callable[[str], None], number: int, count: int) -> Callable[[str], None]:
    return (lambda told: tell(f"member {number + 1} of {count}: {told}")) if count > 1 else tell


def drawn(groups: Sequence[str], seed: str) -> list[int]:
    """Rows of as many groups as there are, drawn with replacement; never all of one group where there are two."""
    rows: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    draw, names = random.Random(seed), sorted(rows)
    chosen = draw.choices(names, k=len(names))
    while len(names) > 1 and len({*chosen}) == 1:
        chosen = draw.choices(names, k=len(names))
    return [row for name in chosen for row in rows[name]]


def shown_of(examples: Examples) -> Sequence[Any]:
    """Everything that is read."""
    return examples.shown if isinstance(examples, Labelled) else (*examples.chosen, *examples.rejected)


def together(
    scorers: Sequence[Instrument], held: Examples, positive: int
) -> tuple[list[Said], Said, dict[str, float] | None]:
    """What each says of rows held out, what all say together, and how far they disagree (None of one alone).

    Together: the mean of rewards, or of the chances of labels (deep ensembles; Lakshminarayanan et al. 2017).
    """
    if isinstance(held, Preferences):
        gaps = np.stack([gaps_of(scorer, held) for scorer in scorers])
        each = [said_of_pairs(its, held) for its in gaps]
        joined, sides = said_of_pairs(gaps.mean(0), held), gaps > 0
        spread = gaps.std(0).mean()
    else:
        each = [judged(scorer, held, positive) for scorer in scorers]
        chances = np.stack([said.chances for said in each])
        joined = Said(chances.mean(0), each[0].true, each[0].groups)
        sides = chances.argmax(2) if chances.ndim > 2 else chances > 0.5
        spread = chances.std(0).mean()
    if len(scorers) == 1:
        return each, each[0], None
    apart = [float((one != other).mean()) for one, other in combinations(sides, 2)]
    return each, joined, {"spread": float(spread), "disagreement": sum(apart) / len(apart)}
