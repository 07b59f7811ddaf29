from __future__ import annotations

from pathlib import Path

import pytest

from judging import ask
from rlaif_core import Abstain, FeedbackError, Score
from rlaif_core.testing import check_judge
from rlaif_judges.function import FunctionJudge

SOURCE = """
import time
import rlaif_core as rl

def shorter(question, factor=1.0):
    return [-factor * len(answer) for answer in question.answers]

def mixed(question):
    return rl.Verdict(outcomes=tuple(rl.Abstain("no idea") for _ in question.answers), measured={"calls": 1.0})

def wrong(question):
    return [0.5]

def short(question):
    return rl.Verdict(outcomes=(rl.Score(1.0),))

def slow(question):
    time.sleep(5)
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return str(path)


def test_the_contract_of_a_judge_holds(file: str) -> None:
    check_judge(FunctionJudge(f"{file}:shorter"))


def test_numbers_become_scores_and_options_are_passed_on(file: str) -> None:
    (verdict,) = FunctionJudge(f"{file}:shorter", options={"factor": 2.0}).ask([ask("a", "bbb")])
    assert verdict.outcomes == (Score(-2.0), Score(-6.0))


def test_a_verdict_is_taken_as_it_is(file: str) -> None:
    (verdict,) = FunctionJudge(f"{file}:mixed").ask([ask("a", form="score")])
    assert verdict.outcomes == (Abstain("no idea"),)
    assert verdict.measured == {"calls": 1.0}


def test_too_few_outcomes_name_the_function_and_the_prompt(file: str) -> None:
    for name in ("wrong", "short"):
        with pytest.raises(FeedbackError, match="returned 1 outcomes for 2 answers") as caught:
            FunctionJudge(f"{file}:{name}").ask([ask("a", "b")])
        assert "asked about prompt 'p'" in caught.value.__notes__[0]


def test_one_that_takes_too_long_is_stopped(file: str) -> None:
    with pytest.raises(FeedbackError, match=r"took longer than 0\.05 s"):
        FunctionJudge(f"{file}:slow", timeout=0.05).ask([ask("a", form="score")])
