from __future__ import annotations

import pytest

from rlaif_core import DataError, Prompt
from rlaif_judges.label.answers import Recorded
from rlaif_judges.label.config import AnswersTable, GoldTable
from rlaif_judges.label.gold import gold_of


def margin(value, places=(0, 1), answers=("a", "b"), **table):
    prompt = Prompt(id="p", text="?", meta={"answers": list(answers), "label": value})
    return gold_of(GoldTable(column="label", **table), Recorded(AnswersTable(), [prompt]), [prompt])(prompt, *places)


@pytest.mark.parametrize(
    ("value", "table", "expected"),
    [
        (1, {"first": 1, "second": 2}, 1),
        (2, {"first": 1, "second": 2}, -1),
        ("A>B", {"first": "A>B", "second": "B>A"}, 1),
        (2, {"first": 0, "second": 1, "tie": 2}, 0),
        (None, {"first": 1, "second": 2}, None),
        ([0.5, 2], {}, -1.5),
        ([1, None], {}, None),
    ],
)
def test_gold_says_by_how_much_the_first_is_better(value, table, expected) -> None:
    assert margin(value, **table) == expected


def test_of_more_answers_it_is_a_number_each() -> None:
    assert margin([1, 5, 2], (1, 2), ("a", "b", "c")) == 3
    with pytest.raises(DataError, match="which of two answers is better, but there are 3"):
        margin(1, answers=("a", "b", "c"), first=1, second=2)


@pytest.mark.parametrize(
    ("value", "table", "told"),
    [
        (3, {"first": 1, "second": 2}, "says 3; \\[gold\\] knows '1', '2'"),
        ([1], {}, "must hold a number for each of the 2 answers"),
        ([1, float("nan")], {}, "must hold a number for each"),
    ],
)
def test_what_is_no_gold_is_said_before_anything_is_asked(value, table, told) -> None:
    with pytest.raises(DataError, match=told):
        margin(value, **table)


def test_without_a_table_chosen_is_gold_and_other_columns_have_none() -> None:
    prompt = Prompt(id="p", text="?", meta={"chosen": "a", "rejected": "b", "x": "c"})
    chosen = gold_of(None, Recorded(AnswersTable(), [prompt]), [prompt])
    assert (chosen(prompt, 0, 1), chosen(prompt, 1, 0)) == (1, -1)
    assert gold_of(None, Recorded(AnswersTable(columns=["x", "chosen"]), [prompt]), [prompt]) is None
