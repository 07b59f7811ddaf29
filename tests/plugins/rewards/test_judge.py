from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlaif_core import Abstain, ConfigError, DataError, Failed, PluginError, Question, Score, Verdict
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.asking import Standards
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
    assert JudgeReward(judge, standards=Standards(rubric="Be brief.")).score(ROLLOUTS) == [
        Score(-3),
        Score(-2),
        Score(-5),
    ]
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
        ([Verdict(outcomes=())] * 3, "a Verdict with as many outcomes is due"),
        ([Verdict(outcomes=(Score(1), Score(2)))] * 3, "a Verdict with as many outcomes is due"),
        ([0.5, 0.5, 0.5], "said 0.5 of 1 answers"),
    ],
)
def test_wrong_verdicts_are_refused(verdicts: Any, complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint):
        JudgeReward(Scripted(verdicts)).score(ROLLOUTS)


def test_the_answers_to_a_prompt_are_ranked_together() -> None:
    judge = Scripted()
    assert JudgeReward(judge, form="rank").score(ROLLOUTS) == [Score(-3), Score(-2), Score(-5)]
    (questions,) = judge.asked
    assert [(question.answers, question.form) for question in questions] == [
        (("yes", "no"), "rank"),
        (("maybe",), "rank"),
    ]


class ByRubric:
    """Scores by what the rubric says: a number, or "fail" or "abstain"."""

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        kinds = {"fail": Failed("down", 1.0), "abstain": Abstain("unsure", 1.0)}
        said = [kinds.get(its.rubric) or Score(float(its.rubric), "said", 1.0) for its in questions]
        return [Verdict(outcomes=(outcome,) * len(its.answers)) for its, outcome in zip(questions, said, strict=True)]


@pytest.mark.parametrize(
    ("second", "wanted"),
    [
        ("-1", Score(-0.5, "true +1.00: said; kind -1.00: said", 2.0)),
        ("fail", Failed("kind: down", 2.0)),
        ("abstain", Abstain("kind: unsure", 2.0)),
    ],
)
def test_criteria_are_averaged_by_weight_and_none_is_left_out(tmp_path: Path, second: str, wanted: Any) -> None:
    rubric = tmp_path / "rubric.md"
    rubric.write_text(f"## true\n1\n## kind (weight 3)\n{second}\n")
    outcomes = JudgeReward(ByRubric(), standards=Standards(rubric=str(rubric))).score(ROLLOUTS)
    assert outcomes == [wanted] * 3


def test_a_criterion_that_failed_is_not_hidden_by_one_without_an_opinion(tmp_path: Path) -> None:
    rubric = tmp_path / "rubric.md"
    rubric.write_text("## kind\nabstain\n## true\nfail\n")
    outcomes = JudgeReward(ByRubric(), standards=Standards(rubric=str(rubric))).score(ROLLOUTS)
    assert outcomes == [Failed("true: down", 2.0)] * 3


def test_levels_and_reference_reach_the_judge(tmp_path: Path) -> None:
    rubric = tmp_path / "rubric.md"
    rubric.write_text("Truth.\n1. false\n2. true\n")
    judge = Scripted()
    rollouts = make_rollouts(["yes"], meta={"gold": "yes!"})
    JudgeReward(judge, standards=Standards(rubric=str(rubric), reference="gold")).score(rollouts)
    ((question,),) = judge.asked
    assert (question.rubric, question.levels, question.reference) == ("Truth.", ("false", "true"), "yes!")
    with pytest.raises(DataError, match="its row has no column 'silver'; columns: gold"):
        JudgeReward(judge, standards=Standards(reference="silver")).score(rollouts)


def test_siblings_are_judged_by_the_same_principles_and_others_come_with_a_new_policy(tmp_path: Path) -> None:
    file = tmp_path / "principles.md"
    file.write_text("\n".join(f"- principle {n}" for n in range(30)))
    reward = JudgeReward(judge := Scripted(), standards=Standards(constitution=str(file), principles=2))
    for version in (0, 0, 1):
        reward.score(dataclasses.replace(ROLLOUTS, policy_version=version))
    first, again, later = ([question.rubric for question in questions] for questions in judge.asked)
    assert first == again != later
    assert first[:2] == first[2:4] != first[4:]
    assert len(set(first[:2])) == 2


def test_a_rubric_and_a_constitution_are_one_too_many() -> None:
    with pytest.raises(ConfigError, match="a rubric or a constitution, not both"):
        Standards(rubric="x", constitution="y.md")
