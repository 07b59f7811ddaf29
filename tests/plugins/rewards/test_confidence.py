from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import ConfigError
from rlaif_rewards.confidence import Stated, calibrated_value, checked_table, in_words, proper_score, stated

GRID = [step / 1000 for step in range(1001)]


@pytest.mark.parametrize(
    ("inside", "options", "value"),
    [
        ("0.7", {}, 0.7),
        (" 1 ", {}, 1.0),
        ("0", {}, 0.0),
        (".25", {}, 0.25),
        ("70%", {}, 0.7),
        ("70 %", {}, 0.7),
        ("70", {"unit": "percent"}, 0.7),
        ("1", {"unit": "percent"}, 0.01),
        ("100%", {}, 1.0),
    ],
)
def test_what_is_read(inside: str, options: dict[str, str], value: float) -> None:
    found = stated(f"Paris <confidence>{inside}</confidence>.", **options)
    assert found == Stated(value, "Paris .")


@pytest.mark.parametrize(
    "inside",
    ["nan", "NaN", "inf", "-0.1", "1.5", "70", "1e-1", "0,7", "", "high", "0.7.1", "101%", "٠.٧", "0x1", "1" * 400],
)
def test_what_is_no_confidence(inside: str) -> None:
    assert isinstance(stated(f"<confidence>{inside}</confidence>"), str)


@pytest.mark.parametrize(
    "text",
    ["", "0.7", "<confidence>0.7", "</confidence>0.7<confidence>", "<confidence>1</confidence>" * 2, "<p>0.7</p>"],
)
def test_it_is_stated_once_in_its_tag(text: str) -> None:
    assert isinstance(stated(text), str)


def test_another_tag() -> None:
    assert stated("<p>0.7</p>yes", tag="p") == Stated(0.7, "yes")


@given(st.text(max_size=60))
def test_any_text_is_refused_or_in_range(text: str) -> None:
    found = stated(f"<confidence>{text}</confidence>")
    assert isinstance(found, str) or 0 <= found.confidence <= 1


def test_confidence_in_words() -> None:
    table = {"i think": 0.7, "surely": 0.95, "maybe": 0.4, "not sure": 0.2, "sure": 0.9}
    assert in_words("I think Paris.", table) == Stated(0.7, "paris.")
    assert in_words("not  SURE: Paris", table) == Stated(0.2, ": paris")  # which is not "sure"
    assert in_words("maybe, maybe", table) == Stated(0.4, ",")
    assert isinstance(in_words("surely, or maybe", table), str)
    assert isinstance(in_words("Paris", table), str)
    assert isinstance(in_words("pleasurely", table), str)


@pytest.mark.parametrize("table", [{"": 0.5}, {"\u200b": 0.5}, {"maybe": 1.5}, {"maybe": math.nan}])
def test_tables_that_make_no_sense(table: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="words: "):
        checked_table(table)


@pytest.mark.parametrize("rule", ["brier", "spherical"])
def test_the_honest_confidence_is_the_best(rule) -> None:
    for p in (0.0, 0.1, 0.3, 0.5, 0.8, 1.0):
        expected = [p * proper_score(q, True, rule) + (1 - p) * proper_score(q, False, rule) for q in GRID]
        assert GRID[max(range(len(GRID)), key=expected.__getitem__)] == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize("rule", ["brier", "spherical"])
def test_bounds_and_symmetry(rule) -> None:
    for q in GRID:
        assert -1 <= proper_score(q, True, rule) <= 0
        assert proper_score(q, True, rule) == pytest.approx(proper_score(1 - q, False, rule))
    assert proper_score(1.0, True, rule) == proper_score(0.0, False, rule) == 0
    assert proper_score(0.0, True, rule) == proper_score(1.0, False, rule) == -1


def honest_value(p: float, rule, weight: float = 1.0) -> float:
    return p * calibrated_value(p, True, rule, weight) + (1 - p) * calibrated_value(p, False, rule, weight)


def test_rlcr_is_worth_the_square_of_the_accuracy() -> None:
    for p in GRID:
        assert honest_value(p, "brier") == pytest.approx(p * p)


@pytest.mark.parametrize("rule", ["brier", "spherical"])
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_a_better_answer_is_always_worth_more(rule, weight: float) -> None:
    values = [honest_value(p, rule, weight) for p in GRID]
    assert all(less < more for less, more in itertools.pairwise(values[1:]))


def test_why_the_log_score_and_weights_above_one_are_refused() -> None:
    def entropy(p: float) -> float:
        return -sum(its * math.log(its) for its in (p, 1 - p) if its)

    logged = [p - entropy(p) for p in GRID]
    assert GRID[min(range(len(GRID)), key=logged.__getitem__)] == pytest.approx(1 / (1 + math.e), abs=1e-3)
    assert next(p for p, value in zip(GRID, logged, strict=True) if p > 0.3 and value > 0) == pytest.approx(
        0.65, abs=2e-3
    )
    assert honest_value(0.1, "brier", weight=2.0) < honest_value(0.0, "brier", weight=2.0)
