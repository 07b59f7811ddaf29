from __future__ import annotations

import math

import pytest

from rlaif_guards.frontier import Frontier, fitted

DISTANCES = [0.2 * k for k in range(20)]


@pytest.mark.parametrize("form", ["best_of_n", "rl"])
def test_a_curve_of_the_form_is_found_again(form):
    true = Frontier(form, 0.8, 0.3)
    found = fitted(form, DISTANCES, [true.gain(d) for d in DISTANCES])
    assert (found.alpha, found.beta, found.error) == (
        pytest.approx(0.8),
        pytest.approx(0.3),
        pytest.approx(0, abs=1e-9),
    )


@pytest.mark.parametrize(("form", "peak"), [("best_of_n", 0.8 / 0.6), ("rl", math.exp(0.8 / 0.3 - 1))])
def test_the_peak_is_where_the_gain_is_largest(form, peak):
    curve = Frontier(form, 0.8, 0.3)
    assert curve.peak == pytest.approx(peak)
    assert curve.gain(peak) > max(curve.gain(peak * 0.99), curve.gain(peak * 1.01))


def test_a_curve_that_never_turns_has_no_peak():
    assert Frontier("best_of_n", 1.0, 0.0).peak == math.inf
    assert Frontier("rl", 1.0, -0.1).peak == math.inf


def test_nothing_is_gained_where_nothing_has_moved():
    assert Frontier("rl", 1.0, 0.5).gain(0.0) == 0.0


def test_one_distance_is_no_curve():
    with pytest.raises(ValueError, match="two distances above 0 at least, but there are 1"):
        fitted("rl", [0.0, 1.0, 1.0], [0.0, 1.0, 2.0])
