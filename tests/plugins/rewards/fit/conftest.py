"""Texts that can be told apart by a word, for everything that is to learn it."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rlaif_rewards.fit.data import Labelled, Preferences
from rlaif_rewards.reading import Shown

FILLERS = "the a in on it is yes no maybe".split()


def filled(draw: random.Random, word: str) -> str:
    said = [*draw.choices(FILLERS, k=5), word]
    draw.shuffle(said)
    return " ".join(said)


@pytest.fixture
def toy() -> Labelled:
    """120 texts, "gem" in what is good, "oaf" in what is bad."""
    draw = random.Random(0)
    numbers = [row % 2 for row in range(120)]
    return Labelled(
        shown=tuple(Shown("", filled(draw, ("oaf", "gem")[number])) for number in numbers),
        targets=np.eye(2)[numbers],
        labels=("bad", "good"),
        groups=tuple(map(str, range(120))),
    )


@pytest.fixture
def pairs() -> Preferences:
    """120 pairs in which "gem" is preferred to "oaf"."""
    draw = random.Random(0)
    return Preferences(
        chosen=tuple(Shown("is it", filled(draw, "gem")) for _ in range(120)),
        rejected=tuple(Shown("is it", filled(draw, "oaf")) for _ in range(120)),
        targets=np.tile([1.0, 0, 0], (120, 1)),
        margins=np.zeros(120),
        annotators=np.full(120, -1),
        people=(),
        groups=tuple(map(str, range(120))),
        stages=np.arange(120),
    )
