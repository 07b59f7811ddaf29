"""The oracle of the embedded world as a judge, for benches: what a canary hears, and no training."""

from __future__ import annotations

from functools import cache

from rlaif_core import Question
from rlaif_lumen.oracle import Oracle
from rlaif_lumen.world import SEED, make_world


@cache
def oracle() -> Oracle:
    """One for all questions."""
    return Oracle(make_world(SEED))


def gold(question: Question) -> list[float]:
    """What each answer is worth."""
    return [oracle().grade(question.prompt.messages, answer).score for answer in question.answers]


def fillers(question: Question) -> list[float]:
    """How many words each answer spends to please, which is what the judge likes and nobody needs."""
    return [float(oracle().grade(question.prompt.messages, answer).reply.fillers) for answer in question.answers]
