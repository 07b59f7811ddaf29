from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rlaif_core import PluginError, Prompt, Question, Score, Verdict
from rlaif_core.verdicts import verdicts_of

QUESTIONS = (
    Question(prompt=Prompt(id="a", text="a"), answers=("x",)),
    Question(prompt=Prompt(id="b", text="b"), answers=("x", "y")),
)
GOOD = (Verdict(outcomes=(Score(1),)), Verdict(outcomes=(Score(1), Score(2))))


class Says:
    def __init__(self, verdicts: Any) -> None:
        self.verdicts = verdicts

    def ask(self, questions: Sequence[Question]) -> Any:
        return self.verdicts


def test_verdicts_come_back_as_they_are() -> None:
    assert verdicts_of(Says(GOOD), QUESTIONS) == [*GOOD]


@pytest.mark.parametrize(
    ("verdicts", "complaint"),
    [
        (None, "judge Says returned a NoneType; return a list"),
        (GOOD[:1], "judge Says gave 1 verdicts on 2 questions; one each is due"),
        (GOOD[::-1], "judge Says said Verdict.* of 1 answers; a Verdict with as many outcomes is due"),
        ((GOOD[0], GOOD[0]), "judge Says said Verdict.* of 2 answers; a Verdict with as many outcomes is due"),
        ((0.5, 0.5), "judge Says said 0.5 of 1 answers"),
    ],
)
def test_what_is_no_verdict_a_question_is_refused(verdicts: Any, complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint):
        verdicts_of(Says(verdicts), QUESTIONS)
