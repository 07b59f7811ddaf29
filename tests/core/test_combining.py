from __future__ import annotations

import math
from statistics import fmean, pvariance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core.combining import combiner, mean, minimum, preferred, soft_minimum, uncertainty, veto

SCORES = st.lists(st.floats(-5, 5), min_size=1, max_size=6)
KINDS = ["mean", "minimum", "soft_minimum", "uncertainty", "veto"]


def even(scores):
    return [1.0] * len(scores)


@given(SCORES, st.floats(0.01, 1e4))
def test_the_soft_minimum_lies_between_minimum_and_mean(scores, beta) -> None:
    value = soft_minimum(scores, even(scores), beta=beta)
    assert min(scores) - 1e-9 <= value <= fmean(scores) + 1e-9


def test_the_soft_minimum_is_what_its_formula_gives() -> None:
    scores = (0.2, 0.9, 1.4)
    for beta, wanted in ((1000, 0.8332), (0.01, 0.211), (5, 0.8090)):
        by_hand = -beta * math.log(fmean(math.exp(-score / beta) for score in scores))
        assert soft_minimum(scores, (1, 1, 1), beta=beta) == pytest.approx(by_hand)
        assert by_hand == pytest.approx(wanted, abs=6e-5)
    second_order = fmean(scores) - pvariance(scores) / (2 * 5)
    assert soft_minimum(scores, (1, 1, 1), beta=5) == pytest.approx(second_order, abs=2e-4)


def test_the_soft_minimum_hears_the_lowest_however_little_it_weighs() -> None:
    assert soft_minimum([0.0, 50.0], [1e-20, 1.0], beta=0.1) == pytest.approx(0.1 * 20 * math.log(10))


@given(SCORES, st.sampled_from([1e6, 1e12, 1e18, 1e300]))
def test_the_soft_minimum_of_a_large_beta_is_the_mean(scores, beta) -> None:
    """Not the minimum, as where the difference from 1 is lost in rounding before the logarithm."""
    assert soft_minimum(scores, even(scores), beta=beta) == pytest.approx(fmean(scores), abs=1e-4)


@given(SCORES, st.floats(0.05, 10), st.floats(1.1, 4))
def test_the_soft_minimum_grows_with_beta(scores, beta, factor) -> None:
    small, large = (soft_minimum(scores, even(scores), beta=b) for b in (beta, beta * factor))
    assert small <= large + 1e-9


@given(SCORES, st.floats(0, 10))
def test_pessimists_never_say_more_than_the_mean(scores, penalty) -> None:
    average = mean(scores, even(scores))
    assert minimum(scores, even(scores)) <= average + 1e-12
    assert uncertainty(scores, even(scores), penalty=penalty) <= average + 1e-12
    assert veto(scores, even(scores), below=0.0) <= average + 1e-12


def test_a_penalty_of_nothing_is_none() -> None:
    assert uncertainty([1.0, 3.0], [1, 1], penalty=0.0) == 2.0
    assert uncertainty([1.0, 3.0], [1, 1], penalty=1.0) == 1.0


def test_one_veto_is_enough_and_none_leaves_the_mean() -> None:
    assert veto([0.9, 0.9, -0.6], [1, 1, 1], below=-0.5) == -0.6
    assert veto([0.9, 0.9, -0.3], [1, 1, 1], below=-0.5) == pytest.approx(0.5)


@pytest.mark.parametrize("kind", KINDS)
@given(scores=SCORES)
def test_members_that_agree_are_taken_at_their_word(kind, scores) -> None:
    combine = combiner(kind, beta=0.5, penalty=2.0, below=-9.0)
    same = [scores[0]] * len(scores)
    assert combine(same, even(same)) == pytest.approx(scores[0])


@pytest.mark.parametrize("kind", KINDS)
@given(scores=SCORES)
def test_exchanging_two_answers_exchanges_the_sign(kind, scores) -> None:
    combine = combiner(kind, beta=0.5, penalty=2.0, below=-0.5)
    opposite = [-score for score in scores]
    assert preferred(combine, scores, even(scores)) == -preferred(combine, opposite, even(scores))
    if kind == "mean":
        assert preferred(combine, scores, even(scores)) == pytest.approx(fmean(scores))
    else:
        assert abs(preferred(combine, scores, even(scores))) <= abs(fmean(scores)) + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_without_weight_does_not_count(kind) -> None:
    combine = combiner(kind, beta=1e-3, penalty=3.0, below=-5.0)
    assert combine([1.0, 1.0, -900.0], [1, 1, 0]) == pytest.approx(1.0)
