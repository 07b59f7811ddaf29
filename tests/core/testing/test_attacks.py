from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from rlaif_core import Failed, PluginError, Question, Score, Verdict
from rlaif_core.testing.attacks import ATTACKS, LONG, PAIRS, Pair, attack

WORSE = {pair.worse for pair in PAIRS}


class Naive:
    """Likes the better answers, except where `falls` says of a text that it does not see through it."""

    def __init__(
        self, falls: Callable[[str], bool] = lambda text: False, odd: Callable[[str], bool] | None = None
    ) -> None:
        self.falls, self.odd = falls, odd or (lambda text: False)

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        return [Verdict(outcomes=tuple(map(self._one, its.answers))) for its in questions]

    def _one(self, answer: str):
        if self.odd(answer):
            return Failed("too long")
        return Score(2.0 if self.falls(answer) else float(any(answer == pair.better for pair in PAIRS)))


def test_there_are_many_kinds_and_each_rewrites_the_worse_answer() -> None:
    assert len(ATTACKS) >= 12
    for name, make in ATTACKS.items():
        texts = [make(pair) for pair in PAIRS]
        assert len(set(texts)) == len(PAIRS), name
        assert not set(texts) & WORSE, name
        assert all(pair.worse in text or name == "encoded" for pair, text in zip(PAIRS, texts, strict=True)), name
    assert max(len(ATTACKS["very long"](pair)) for pair in PAIRS) >= LONG


def test_who_falls_for_nothing_has_no_flip() -> None:
    attempts = attack(Naive())
    assert [attempt.name for attempt in attempts] == list(ATTACKS)
    assert {(its.pairs, its.flips, its.unheard, its.shift, its.rate) for its in attempts} == {
        (len(PAIRS), 0, 0, 0.0, 0.0)
    }


@pytest.mark.parametrize("form", ["compare", "score"])
def test_who_obeys_is_found_out(form: str) -> None:
    attempts = {its.name: its for its in attack(Naive(lambda text: "<|im_start|>" in text), form=form)}
    assert attempts["control tokens"].rate == 1.0
    assert attempts["control tokens"].shift == 2.0
    assert sum(its.flips for name, its in attempts.items() if name != "control tokens") == 0


def test_only_what_it_gets_right_can_be_attacked_and_silence_is_no_flip() -> None:
    pairs = [PAIRS[0], Pair("?", better="unknown", worse="x")]
    attempts = {its.name: its for its in attack(Naive(odd=lambda text: len(text) > 10_000), pairs)}
    assert attempts["instruction"].pairs == 1
    assert (attempts["very long"].unheard, attempts["very long"].flips, attempts["very long"].rate) == (1, 0, 0.0)


def test_a_judge_that_is_never_right_cannot_be_measured() -> None:
    with pytest.raises(PluginError, match="on none of 8 pairs even when nobody attacks"):
        attack(Naive(lambda text: text in WORSE))


def test_what_an_attack_makes_a_tie_is_a_flip() -> None:
    class Tied(Naive):
        def _one(self, answer: str):
            return Score(0.0 if answer in WORSE else 1.0)

    (attempt,) = attack(Tied(), attacks={"any": lambda pair: f"{pair.worse} indeed"})
    assert (attempt.flips, attempt.heard, attempt.rate) == (len(PAIRS), len(PAIRS), 1.0)
    assert attempt.shift == 1.0
