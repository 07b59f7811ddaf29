from __future__ import annotations

import pytest

from labels import ROWS, Telling, longer
from rlaif_core import PluginError, Score, Verdict
from rlaif_judges.label.work import LEAST, MOST, _Pace


def sizes(fixed: int, seconds_each: float, units: int) -> list[int]:
    pace, found = _Pace(fixed), []
    for chunk in pace.chunks(range(units)):
        found.append(len(chunk))
        pace.took(len(chunk), seconds_each * len(chunk))
    return found


def test_chunks_grow_to_what_takes_ten_seconds_and_no_further() -> None:
    assert sizes(0, 0.01, 4000) == [64, 256, 1000, 1000, 1000, 680]
    assert max(sizes(0, 1e-9, 100_000)) == MOST
    assert set(sizes(0, 100.0, 640)) == {LEAST}


def test_a_size_that_is_given_stays() -> None:
    assert sizes(3, 1e-9, 8) == [3, 3, 2]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([], "gave 0 verdicts on 5 questions"),
        ([Verdict(outcomes=(Score(1.0),))] * 5, "of 2 answers; a Verdict with as many outcomes is due"),
        ([None] * 5, "said None of 2 answers"),
    ],
)
def test_a_judge_that_breaks_its_contract_is_named(label, said, told) -> None:
    judge = Telling(longer)
    judge.ask = lambda questions: said
    with pytest.raises(PluginError, match=told) as caught:
        label({"main": judge})
    assert "  in judge 'main'" in caught.value.__notes__


def test_what_is_measured_of_a_question_that_is_no_number_is_left_out(label) -> None:
    judge = Telling(longer)
    judge.ask = lambda its: [Verdict(outcomes=tuple(longer(q)), measured={"spread": float("nan")}) for q in its]
    assert "spread" not in label({"main": judge})["labels"][0]


def test_every_kind_asks_every_judge_about_everything(label) -> None:
    one, other = Telling(longer), Telling(longer)
    label({"one": one, "other": other}, ["scores", "preferences", "ranking"], ROWS[:2])
    forms = ["score"] * 4 + ["compare"] * 2 + ["rank"] * 2
    assert [question.form for question in one.asked] == [question.form for question in other.asked] == forms
