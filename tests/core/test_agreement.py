from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import krippendorff
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from rlaif_core import DataError
from rlaif_core.agreement import (
    accuracy,
    bootstrap,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    pairwise_accuracy,
)

TABLES = st.lists(st.lists(st.integers(1, 4) | st.none(), min_size=3, max_size=3), min_size=2, max_size=12)

# Fourteen raters, ten subjects, five categories: Wikipedia's worked example of Fleiss' kappa.
FOURTEEN = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip

# Four observers, twelve units: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), part C.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def transposed(rows: list[list[int | None]]) -> list[list[int | None]]:
    return [list(row) for row in zip(*rows, strict=True)]


def spelled(counts: tuple[int, ...]) -> list[int]:
    return [category for category, count in enumerate(counts) for _ in range(count)]


def test_accuracy_counts_what_both_rated() -> None:
    assert accuracy([1, 2, None, 1], [1, 1, 1, None]) == 0.5
    assert accuracy(["a"], ["a"]) == 1.0


def test_kappa_of_the_table_in_cohens_paper() -> None:
    # Cohen (1960), table 1, of 200 subjects: observed .70 (here as counts), chance .41, kappa .492.
    table = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
    pairs = [(row, column) for row in range(3) for column in range(3) for _ in range(table[row][column])]
    assert cohen_kappa(*map(list, zip(*pairs, strict=True))) == pytest.approx(0.492, abs=5e-4)


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=20))
@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
def test_kappa_agrees_with_scikit_learn(weights: str | None, pairs: list[tuple[int, int]]) -> None:
    first, second = map(list, zip(*pairs, strict=True))
    assume(len({*first, *second}) > 1)
    assert cohen_kappa(first, second, weights) == pytest.approx(cohen_kappa_score(first, second, weights=weights))


def test_kappa_weighs_the_order_of_numbers_whatever_order_they_come_in() -> None:
    first, second = [10, 2, 10, 2, 30], [30, 2, 10, 10, 30]
    places = {2: 0, 10: 1, 30: 2}
    expected = cohen_kappa_score([places[x] for x in first], [places[x] for x in second], weights="quadratic")
    assert cohen_kappa(first, second, "quadratic") == pytest.approx(expected)


def test_fleiss_of_the_worked_example() -> None:
    assert fleiss_kappa([spelled(row) for row in FOURTEEN]) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_takes_missing_ratings_for_fewer_raters() -> None:
    rows = [spelled(row) for row in FOURTEEN]
    assert fleiss_kappa([[*row, None, None] for row in rows]) == fleiss_kappa(rows)
    assert fleiss_kappa([*rows, [3, None], [None]]) == fleiss_kappa(rows)


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_krippendorffs_example(level: str, alpha: float) -> None:
    assert krippendorff_alpha(transposed(OBSERVERS), level) == pytest.approx(alpha, abs=5e-4)


@given(TABLES)
@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_agrees_with_the_krippendorff_package(level: str, table: list[list[int | None]]) -> None:
    found = krippendorff_alpha(table, level)
    assume(found is not None)
    theirs = np.array([[np.nan if rating is None else rating for rating in row] for row in table], dtype=float).T
    assert found == pytest.approx(krippendorff.alpha(theirs, level_of_measurement=level))


@given(TABLES, st.randoms())
def test_order_of_raters_and_items_changes_nothing(table: list[list[int | None]], random: object) -> None:
    mixed = [list(row) for row in table]
    random.shuffle(mixed)  # type: ignore[attr-defined]
    for row in mixed:
        random.shuffle(row)  # type: ignore[attr-defined]
    for statistic in (fleiss_kappa, krippendorff_alpha, lambda rows: krippendorff_alpha(rows, "ordinal")):
        assert statistic(mixed) == pytest.approx(statistic(table))


def test_perfect_agreement_is_one_and_opposition_below_zero() -> None:
    same, opposite = [[1, 1], [2, 2], [3, 3]], [[1, 2], [2, 1]]
    for statistic in (fleiss_kappa, krippendorff_alpha):
        assert statistic(same) == pytest.approx(1)
        assert statistic(opposite) < 0
    assert cohen_kappa([1, 2, 1, 2], [2, 1, 2, 1]) == pytest.approx(-1)


@pytest.mark.parametrize("statistic", [fleiss_kappa, krippendorff_alpha])
@pytest.mark.parametrize("table", [[], [[]], [[None, None]], [[1, None], [None, 2]], [[1, 1], [1, 1]]])
def test_what_the_data_do_not_define_is_none(
    statistic: Callable[..., float | None], table: list[list[int | None]]
) -> None:
    assert statistic(table) is None


def test_undefined_between_two_is_none() -> None:
    assert accuracy([], []) is None
    assert accuracy([None], [1]) is None
    assert cohen_kappa([], []) is None
    assert cohen_kappa([1, 1], [1, 1]) is None
    assert pairwise_accuracy([0.0, 1.0], [1.0, 0.0]) is None


@pytest.mark.parametrize("statistic", [accuracy, cohen_kappa, pairwise_accuracy])
def test_nan_is_an_error_and_no_opinion(statistic: Callable[..., float | None]) -> None:
    with pytest.raises(DataError, match="a rating is nan; write None"):
        statistic([1.0, float("nan")], [1.0, 2.0])
    with pytest.raises(DataError, match="a rating is nan"):
        krippendorff_alpha([[1.0, np.float64("nan")]])


def test_lengths_must_agree() -> None:
    with pytest.raises(DataError, match="2 ratings stand against 1"):
        accuracy([1, 2], [1])


def test_distances_need_numbers() -> None:
    assert krippendorff_alpha([["a", "a"], ["b", "b"]]) == pytest.approx(1)
    with pytest.raises(DataError, match="'a' is no number"):
        krippendorff_alpha([["a", "b"], ["b", "b"]], "interval")
    with pytest.raises(DataError, match="'a' is no number"):
        cohen_kappa(["a", "b"], ["b", "b"], "linear")


def test_ties_in_gold_are_left_out_and_those_of_the_source_as_wished() -> None:
    margins, gold = [2.0, -1.0, 0.0, 3.0, None], [1.0, 5.0, 1.0, 0.0, 1.0]
    assert pairwise_accuracy(margins, gold) == 1 / 2
    assert pairwise_accuracy(margins, gold, ties="half") == 1.5 / 3


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=9))
def test_swapping_the_answers_of_every_pair_changes_no_accuracy(pairs: list[tuple[float, float]]) -> None:
    margins, gold = map(list, zip(*pairs, strict=True))
    swapped = pairwise_accuracy([-m for m in margins], [-g for g in gold], ties="half")
    assert swapped == pairwise_accuracy(margins, gold, ties="half")


def test_bootstrap_is_steady_and_covers_the_value() -> None:
    said, true = [1] * 300 + [2] * 101, [1] * 401
    found = bootstrap(accuracy, said, true, seed=1)
    assert found == bootstrap(accuracy, said, true, seed=1)
    assert found != bootstrap(accuracy, said, true, seed=2)
    assert found.low < found.value < found.high  # type: ignore[operator]
    assert str(found).startswith("0.748 (0.")


def test_bootstrap_is_as_wide_as_the_normal_approximation() -> None:
    said, true = np.array([1] * 300 + [2] * 100), np.ones(400)
    found = bootstrap(accuracy, said, true, draws=2000)
    assert found.high - found.low == pytest.approx(2 * 1.96 * (0.75 * 0.25 / 400) ** 0.5, rel=0.1)  # type: ignore[operator]


def test_interval_over_groups_is_wider_where_items_of_a_group_are_alike() -> None:
    said, true = [1] * 20 + [2] * 20, [1] * 40
    apart = bootstrap(accuracy, said, true)
    grouped = bootstrap(accuracy, said, true, groups=[row // 10 for row in range(40)])
    assert grouped.high - grouped.low > 2 * (apart.high - apart.low)  # type: ignore[operator]


def test_interval_of_what_is_undefined_is_empty() -> None:
    assert bootstrap(accuracy, [], []).value is None
    assert str(bootstrap(cohen_kappa, [1, 1], [1, 1])) == "undefined"
    rare = bootstrap(lambda items: 1.0 if len({*items}) == len(items) else None, list(range(5)))
    assert (rare.value, rare.low, rare.high) == (1.0, None, None)  # few draws hold no item twice
    often = bootstrap(pairwise_accuracy, [1.0] + [0.0] * 99, [1.0] * 100)
    assert (often.low, often.high) == (1.0, 1.0)  # over the draws that hold the first pair


def test_bootstrap_refuses_columns_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="equally long"):
        bootstrap(accuracy, [1, 2], [1])
    with pytest.raises(DataError, match="between 0 and 1"):
        bootstrap(accuracy, [1], [1], level=95)


@pytest.mark.real
def test_three_peoples_judgements_agree_as_the_package_says(real_data: Path) -> None:
    lines = (real_data / "data" / "pref_pandalm.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    table = [[row[f"annotator{number}"] for number in (1, 2, 3)] for row in rows]
    theirs = krippendorff.alpha(np.array(table).T, level_of_measurement="nominal")
    assert krippendorff_alpha(table) == pytest.approx(theirs)
    first, second, _ = map(list, zip(*table, strict=True))
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
    # Each rater puts as many items as all do nearly: Fleiss' kappa and alpha then differ by one over the ratings.
    assert fleiss_kappa(table) == pytest.approx(theirs, abs=2 / (3 * len(table)))
