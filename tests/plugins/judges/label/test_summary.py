from __future__ import annotations

import pytest

from rlaif_core import Prompt
from rlaif_judges.label.answers import Recorded
from rlaif_judges.label.config import AnswersTable
from rlaif_judges.label.summary import Pairs, shown

PROMPT = Prompt(id="p", text="?", meta={"answers": ["a", "bbb", "cc"]})


def pairs(*said: tuple[tuple[int, int], dict], gold=None) -> Pairs:
    its = Pairs(Recorded(AnswersTable(), [PROMPT]), gold)
    for places, margins in said:
        its.add("preferences", PROMPT, places, margins)
    return its


def test_gold_and_length_are_counted_over_what_was_judged() -> None:
    its = pairs(
        ((0, 1), {"m": 0.5}),  # prefers a, 2 shorter; gold: bbb
        ((0, 2), {"m": -0.5}),  # prefers cc, 1 longer; gold: cc
        ((1, 2), {"m": 0.0}),  # a tie, half right
        ((1, 2), {"m": None}),
        gold=lambda _, one, other: float(one - other),
    )
    told = its.told("preferences", "m")
    assert told["gold_accuracy"] == pytest.approx(1.5 / 3)
    assert told["longer_by"] == pytest.approx((-2 + 1) / 2)
    assert told["longer_preferred"] == 0.5


def test_judges_agree_on_signs_and_ties_are_verdicts() -> None:
    its = pairs(
        ((0, 1), {"m": 0.9, "n": 0.1}),
        ((0, 2), {"m": 0.0, "n": 0.0}),
        ((1, 2), {"m": 0.1, "n": -0.1}),
        ((1, 2), {"m": None, "n": 0.5}),
    )
    (told,) = its.between("preferences")
    assert (told["judges"], told["pairs"], told["accuracy"]) == (["m", "n"], 3, pytest.approx(2 / 3))
    assert told["kappa"] == pytest.approx(0.5)  # 2/3 observed, 1/3 by chance


def test_without_gold_nothing_is_said_of_it() -> None:
    assert "gold_accuracy" not in pairs(((0, 1), {"m": 0.5})).told("preferences", "m")
    assert pairs().told("preferences", "m") == {}


def test_a_report_is_readable_and_steers_no_terminal(capsys) -> None:
    counts = {"labelled": 3, "abstained": 1, "failed": 1, "ties": 0, "calls": 8, "cost": 0.5, "seconds": 65.0}
    entry = {
        "what": "scores",
        "judge": "x\x1b[31m",
        **counts,
        "tokens_in": 1000,
        "tokens_out": 500,
        "gold_accuracy": 0.75,
    }
    agreement = {"what": "scores", "judges": ["x", "y"], "pairs": 4, "accuracy": 0.5, "kappa": None}
    shown(
        {
            "folder": "out",
            "rows": {"scores": 3, "ranking": 0},
            "labels": [entry],
            "agreement": [agreement],
            "reasons": {"failed": [("down\u202e", 1)], "abstained": [("?", 1)]},
        }
    )
    said = capsys.readouterr().out
    for words in (
        "x\\x1b[31m",
        "1,500",
        "1 min 05 s",
        "0.750",
        "x and y",
        "3 rows in out/scores",
        "no rows of ranking",
    ):
        assert words in said, words
    assert "1 failed, 1 of them: down\\u202e" in said
