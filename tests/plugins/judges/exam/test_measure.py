from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judging import Scripted, answers_in, ask
from rlaif_core import Abstain, Failed, Score, Verdict
from rlaif_core.calibration import brier, fit_calibrator
from rlaif_judges.asking import Straight
from rlaif_judges.exam.measure import agreement, calibrated, examined, margins_of
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.language import LanguageJudge


def said(*margins: float | None, **measured: float) -> list[Verdict]:
    return [
        Verdict(outcomes=(Abstain("?"),) * 2 if m is None else (Score(m), Score(-m)), measured=measured)
        for m in margins
    ]


def pairs(count: int) -> list[tuple[str, str]]:
    return [("a" * (2 + number % 2), "b" * (3 - number % 2)) for number in range(count)]


def test_right_wrong_tied_and_unheard() -> None:
    its = examined("x", said(0.5, -0.5, 0.0, None, 0.9), [1, 1, 1, 1, 0], pairs(5))
    assert its.accuracy.value == 0.5  # right, wrong, and a coin; what is tied in truth has no right order
    assert (its.pairs, its.abstained, its.failed) == (5, 1, 0)
    assert its.single is its.consistent is its.position_bias is None


def test_failures_are_counted_apart() -> None:
    verdicts = [*said(0.5), Verdict(outcomes=(Failed("down"), Failed("down")))]
    its = examined("x", verdicts, [1, 1], pairs(2))
    assert (its.abstained, its.failed, its.accuracy.value) == (0, 1, 1.0)


def test_a_judge_that_says_nothing_has_no_figures() -> None:
    its = examined("x", said(None, None), [1, -1], pairs(2))
    assert its.accuracy.value is its.kappa is its.brier is its.ece is None
    assert its.bins == ()


@settings(max_examples=20)
@given(st.floats(-1, 1), st.floats(-1, 1))
def test_the_single_reads_come_back_from_margin_and_bias(first: float, second: float) -> None:
    """Through a judge that prefers by place and content as wished: margins `first` and `second` of its two reads."""

    def choose(request):
        p = (1 + first) / 2 if answers_in(request)["A"] == "x" else (1 - second) / 2
        return [p, 1 - p]

    verdicts = LanguageJudge(Straight(Scripted(choose)), Hygiene()).ask([ask("x", "y")])
    its = examined("it", verdicts, [1], [("x", "y")])
    wanted = sum((value > 0) + (value == 0) / 2 for value in (first, second)) / 2
    if min(abs(first), abs(second)) > 1e-9:
        assert its.single.value == pytest.approx(wanted)
        assert its.consistent == float((first > 0) == (second > 0))
        assert its.position_bias == pytest.approx((first - second) / 4)


def test_one_that_always_names_the_first_is_at_chance_and_inconsistent() -> None:
    judge = LanguageJudge(Straight(Scripted(lambda request: [1.0, 0.0])), Hygiene())
    questions = [ask(f"good {n}", f"bad {n}") for n in range(20)]
    its = examined("it", judge.ask(questions), [1 if n % 3 else -1 for n in range(20)], pairs(20))
    assert its.accuracy.value == its.single.value == 0.5
    assert its.consistent == 0.0
    assert its.position_bias == 0.5


def test_both_orders_are_righter_than_one_for_a_biased_judge() -> None:
    """It sees the better answer, and is drawn to the first by as much: single reads are a coin where it matters."""
    chance = random.Random(0)
    strength = {f"good {n}": chance.random() for n in range(200)}

    def choose(request):
        texts = answers_in(request)
        pull = 0.3 + (strength.get(texts["A"], 0) - strength.get(texts["B"], 0)) * 0.4
        return [0.5 + pull / 2, 0.5 - pull / 2]

    judge = LanguageJudge(Straight(Scripted(choose)), Hygiene())
    its = examined("it", judge.ask([ask(f"good {n}", f"bad {n}") for n in range(200)]), [1] * 200, pairs(200))
    assert its.accuracy.value == 1.0
    assert its.single.value < 0.7
    assert its.position_bias == pytest.approx(0.15)


def test_what_length_does_to_it_is_told() -> None:
    answers = [("long answer", "short"), ("short", "long answer")] * 10
    loves_length = said(*[0.5, -0.5] * 10)
    its = examined("x", loves_length, [1, 1] * 10, answers)
    assert (its.lengths.longer, its.lengths.shorter) == (1.0, 0.0)
    assert its.lengths.bias == 0.5
    assert examined("x", said(*[0.5] * 20), [1] * 20, answers).lengths.bias == 0.0


def test_right_where_the_longer_is_better_and_where_the_shorter_is_are_told_apart() -> None:
    """Also where the better answer is the second one."""
    answers = [("long answer", "short")] * 4
    its = examined("x", said(0.5, 0.5, -0.5, 0.5), [1, 1, -1, -1], answers)
    assert (its.lengths.longer, its.lengths.shorter) == (1.0, 0.5)


def test_preferring_ones_own_is_told() -> None:
    truth, own = [1, -1, 1, -1], [1, 1, -1, -1]
    assert examined("x", said(0.5, 0.5, -0.5, -0.5), truth, pairs(4), own).own_bias == 0.5
    assert examined("x", said(0.5, -0.5, 0.5, -0.5), truth, pairs(4), own).own_bias == 0.0
    assert examined("x", said(0.5), [1], pairs(1)).own_bias is None


def test_agreement_between_judges() -> None:
    margins = {"a": [1, 1, -1, -1], "b": [0.2, 0.9, -0.1, -0.4], "c": [1, -1, 1, -1]}
    kappas, alpha = agreement(margins)
    assert kappas[("a", "b")] == 1.0
    assert kappas[("a", "c")] == 0.0
    assert -1 <= alpha < 1
    assert agreement({"a": [1.0]}) == ({}, None)


def test_calibration_makes_an_overconfident_judge_honest_and_keeps_its_symmetry() -> None:
    chance = random.Random(1)
    truth = [chance.choice([1, -1]) for _ in range(4000)]
    margins = [0.98 * (t if chance.random() < 0.7 else -t) for t in truth]  # says 0.99, is right 70 % of the time
    its = calibrated(margins, truth)
    assert its.ece_before > 0.25
    assert its.ece_after < 0.05
    assert its.brier_after < its.brier_before
    up, down = (float(its.calibrator([p])[0]) for p in (0.99, 0.01))
    assert up == pytest.approx(0.7, abs=0.05)
    assert up + down == pytest.approx(1)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_margins_that_are_no_probabilities_are_as_sure_as_can_be(kind: str) -> None:
    """A function may score as it likes; the examination takes what is beyond -1 and 1 for these, and so does this."""
    truth = [1, -1, 1, 1, -1] * 8
    wild = [7.0 * t if number % 4 else -3.0 for number, t in enumerate(truth)]
    tame = [max(-1.0, min(1.0, margin)) for margin in wild]
    one, other = calibrated(wild, truth, kind), calibrated(tame, truth, kind)
    assert one.brier_before == other.brier_before == examined("x", said(*wild), truth, pairs(40)).brier
    assert one.ece_after == other.ece_after


def test_a_calibration_is_measured_on_pairs_that_it_was_not_fitted_to_and_with_its_symmetry() -> None:
    """By hand, fold by fold; of few pairs it matters."""
    chance = random.Random(2)
    margins = [round(chance.uniform(-1, 1), 2) for _ in range(30)]
    truth = [chance.choice([1, -1, 1]) for _ in margins]
    p, right = [(1 + m) / 2 for m in margins], [float(t > 0) for t in truth]
    after = [0.0] * 30
    for fold in range(5):
        rest = [row for row in range(30) if row % 5 != fold]
        fitted = fit_calibrator([p[r] for r in rest], [right[r] for r in rest], kind="isotonic", symmetric=True)
        for row in range(fold, 30, 5):
            after[row] = float(fitted([p[row]])[0])
    assert calibrated(margins, truth, "isotonic").brier_after == pytest.approx(brier(after, right))


def test_too_few_pairs_calibrate_nothing() -> None:
    assert calibrated([0.5] * 9, [1] * 9) is None
    assert calibrated([0.5, None] * 9, [1, 1] * 9) is None


def test_margins_are_half_the_difference() -> None:
    assert margins_of(said(0.5, None)) == [0.5, None]
