"""Curves that keep their shape, ticks and numbers that a person would have chosen."""

from __future__ import annotations

import math
import random

import pytest

from rlaif_report.charts import Axis, curve, number, path, score, signed, smoothed, span, thinned, trajectory


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.5, "0.500"), (0.12849, "0.128"), (-0.25, "−0.250"), (1.0, "1.00"), (12.34, "12.3"),
        (200.0, "200"), (999.4, "999"), (999.6, "1,000"), (1284.4, "1,284"), (53_845.0, "53,845"),
        (999_499.0, "999,499"), (999_500.0, "1.00 M"),
        (1_284_000.0, "1.28 M"), (3.2e9, "3.20 G"), (4e12, "4.00 T"), (1e-6, "1 × 10⁻⁶"), (-2.54e-7, "−2.5 × 10⁻⁷"),
        (1e15, "1 × 10¹⁵"), (0.000123, "0.000123"),
    ],
)  # fmt: skip
def test_numbers_read_well(value: float, text: str) -> None:
    assert number(value) == text


def test_changes_carry_their_sign_and_scores_line_up() -> None:
    assert (signed(0.25), signed(-0.25), signed(0.0)) == ("+0.250", "−0.250", "+0.000")
    assert [score(value) for value in (1.0, -0.5, 0.0, 0.0002, 12345.0)] == [
        "1.000",
        "−0.500",
        "0.000",
        "0.000200",
        "12,345",
    ]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.0, 1.0], ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        ([0.43, 1.12], ["0.4", "0.6", "0.8", "1.0", "1.2"]),
        ([-3.0, 5.0], ["−4", "−2", "0", "2", "4", "6"]),
        ([0.5, 0.5], ["0.2", "0.4", "0.6", "0.8"]),
        ([0.0, 0.0], ["−0.50", "−0.25", "0.00", "0.25", "0.50"]),
        ([0.0, 8e-6], ["0", "2 × 10⁻⁶", "4 × 10⁻⁶", "6 × 10⁻⁶", "8 × 10⁻⁶"]),
    ],
)
def test_ticks_are_round(values: list[float], labels: list[str]) -> None:
    assert [tick.label for tick in Axis.of(values).ticks] == labels


def test_every_axis_holds_its_values_and_few_ticks() -> None:
    luck = random.Random(3)
    for _ in range(500):
        values = [luck.gauss(0, 1) * 10 ** luck.uniform(-8, 8) for _ in range(luck.randint(1, 5))]
        axis = Axis.of(values)
        assert all(-0.01 <= axis.at(value) <= 100.01 for value in values), values
        assert 2 <= len(axis.ticks) <= 7, values
        assert all(-0.01 <= tick.at <= 100.01 for tick in axis.ticks)
        assert len({tick.label for tick in axis.ticks}) == len(axis.ticks), values


def test_steps_use_the_whole_width() -> None:
    axis = Axis.of([1, 200], whole=True)
    assert (axis.at(1), axis.at(200)) == (0, 100)
    assert [tick.label for tick in axis.ticks] == ["50", "100", "150", "200"]
    assert [tick.label for tick in Axis.of([1, 2, 3], whole=True).ticks] == ["1", "2", "3"]
    assert [tick.label for tick in Axis.of([1, 11], whole=True).ticks] == ["3", "6", "9"]


def test_smoothing_is_a_mean_that_does_not_lean_on_the_first_value() -> None:
    assert smoothed([3.0] * 100) == pytest.approx([3.0] * 100)
    assert smoothed([1.0, 5.0, 2.0]) == [1.0, 5.0, 2.0]
    values = [0.0] * 50 + [1.0] * 50
    keep = 1 - 2 / (span(100) + 1)
    weights = [keep**age for age in range(100)][::-1]
    by_hand = sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)
    assert smoothed(values)[-1] == pytest.approx(by_hand)


def test_a_long_curve_keeps_its_ends_and_its_spikes() -> None:
    values = [math.sin(place / 500) for place in range(20_000)]
    values[7777], values[12_345] = 9.0, -9.0
    kept = thinned(values)
    assert len(kept) <= 402
    assert {0, 7777, 12_345, 19_999} <= set(kept)
    assert kept == sorted(kept)
    assert thinned(values[:400]) == list(range(400))


def test_a_curve_is_a_path_with_its_values() -> None:
    chart = curve("reward", [(1, 0.0), (2, 1.0), (3, 0.5)])
    assert chart.raw == chart.smooth == "M0 1000L500 0L1000 500"
    assert chart.points == [
        (0.0, 100.0, "step 1", "0", "0"),
        (50.0, 0.0, "step 2", "1.00", "1.00"),
        (100.0, 50.0, "step 3", "0.500", "0.500"),
    ]
    assert chart.last == "0.500"
    assert chart.told == "reward: 0 at step 1, 0.500 at step 3"
    assert path([(50.0, 50.0)]) == "M500 500h0"


def test_a_trajectory_sets_one_metric_against_another() -> None:
    chart = trajectory("r", [0.0, 0.5, 1.0], [0.0, 1.0, 0.5], [1, 2, 3])
    assert chart.smooth == "M0 1000L500 0L1000 500"
    assert chart.raw == "M0 1000h0M500 0h0M1000 500h0"
    assert chart.points[-1] == (100.0, 50.0, "step 3", "0.500", "1.00")
    assert chart.told == "r, from (0, 0) to (1.00, 0.500)"


def test_what_was_long_ago_leaves_no_trace() -> None:
    assert smoothed([0.006, *[0.0] * 40])[-1] == 0
    assert smoothed([1.0, *[1e-3] * 40])[-1] == pytest.approx(1e-3, rel=1e-3)
