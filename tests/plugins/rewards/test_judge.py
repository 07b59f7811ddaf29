from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlaif_core import Abstain, ConfigError, Failed, PluginError, Question, Score, Verdict
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.judge import JudgeReward

ROLLOUTS = make_rollouts([("yes", "no"), "maybe"])


class Scripted:
    """Says what it is told to, and remembers what it was asked."""

    def __init__(self, verdicts: Any = None) -> None:
        self.verdicts = verdicts
        self.asked: list[Sequence[Question]] = []

    def ask(self, questions: Sequence[Question]) -> Any:
        self.asked.append(questions)
        if self.verdicts is not None:
            return self.verdicts
        return [Verdict(outcomes=tuple(Score(-len(answer)) for answer in question.answers)) for question in questions]


def test_keeps_the_contract() -> None:
    check_reward(JudgeReward(Scripted()))


def test_asks_about_each_answer_alone_and_about_all_at_once() -> None:
    judge = Scripted()
    assert JudgeReward(judge, rubric="Be brief.").score(ROLLOUTS) == [Score(-3), Score(-2), Score(-5)]
    (questions,) = judge.asked
    assert [question.answers for question in questions] == [("yes",), ("no",), ("maybe",)]
    assert [question.prompt.id for question in questions] == ["prompt-0", "prompt-0", "prompt-1"]
    assert {question.rubric for question in questions} == {"Be brief."}


def test_outcomes_pass_through_as_they_are() -> None:
    said = [Score(0.3, "fair", 0.01), Abstain("unsure"), Failed("outage")]
    judge = Scripted([Verdict(outcomes=(outcome,)) for outcome in said])
    assert JudgeReward(judge).score(ROLLOUTS) == said


@pytest.mark.parametrize(
    ("verdicts", "complaint"),
    [
        ([], "judge Scripted gave 0 verdicts on 3 questions; one each is due"),
        ([Verdict(outcomes=(Score(1),))] * 4, "gave 4 verdicts on 3 questions"),
        ([Verdict(outcomes=())] * 3, "a Verdict with one outcome is due"),
        ([Verdict(outcomes=(Score(1), Score(2)))] * 3, "a Verdict with one outcome is due"),
        ([0.5, 0.5, 0.5], "said 0.5 of one answer"),
    ],
)
def test_wrong_verdicts_are_refused(verdicts: Any, complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint):
        JudgeReward(Scripted(verdicts)).score(ROLLOUTS)


def test_rubric_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "rubric.md"
    file.write_text("\n# Be kind\n", encoding="utf-8")
    assert JudgeReward(Scripted(), rubric=str(file)).rubric == "# Be kind"
    file.write_text(" \n")
    with pytest.raises(ConfigError, match="is empty"):
        JudgeReward(Scripted(), rubric=str(file))
    with pytest.raises(ConfigError, match=r"'nowhere.md' cannot be read"):
        JudgeReward(Scripted(), rubric="nowhere.md")
