from __future__ import annotations

from typing import Any

import pytest

from rlaif_builtins.actions.replay import Replay
from rlaif_builtins.recorded import Recorded
from rlaif_core import Abstain, DataError, FeedbackError, Outcome, Prompt, Rollouts, Score
from rlaif_core.testing import FakePolicy, check_reward, make_rollouts


def replayed(columns: Replay, *metas: dict[str, Any]) -> Rollouts:
    prompts = [Prompt(id=f"p{number}", text="is it", meta=meta) for number, meta in enumerate(metas)]
    return columns.act(FakePolicy().sampler(seed=0, step=0, group=2), prompts, None)


def values(outcomes: Any) -> list[float | None]:
    return [outcome.value if isinstance(outcome, Score) else None for outcome in outcomes]


def test_chosen_is_one_and_rejected_is_zero() -> None:
    rollouts = replayed(Replay(), {"chosen": "yes", "rejected": "no"}, {"chosen": "no", "rejected": "yes"})
    said = Recorded().score(rollouts)
    assert said == [Score(1, "recorded as chosen"), Score(0, "recorded as rejected")] * 2
    flipped = Recorded().score(rollouts.take([3, 0, 2, 1]))
    assert values(flipped) == [0, 1, 1, 0]


def test_alike_answers_go_by_their_place() -> None:
    rollouts = replayed(Replay(), {"chosen": "yes", "rejected": "yes"})
    assert values(Recorded().score(rollouts)) == [1, 0]


def test_scores_from_a_list() -> None:
    row = {"them": ["yes", "no", "yes", "maybe"], "marks": [0.5, -2, 3, None]}
    rollouts = replayed(Replay(answers="them"), row)
    source = Recorded(answers="them", scores="marks")
    assert values(source.score(rollouts)) == [0.5, -2, 3, None]
    assert source.score(rollouts)[0] == Score(0.5, "recorded as 0.5")
    assert values(source.score(rollouts.take([3, 1, 0, 2]))) == [None, -2, 0.5, 3]


def test_an_answer_that_was_not_recorded_gets_no_opinion() -> None:
    rollouts = make_rollouts([("yes", "blue")], meta={"chosen": "yes", "rejected": "no"})
    expected: list[Outcome] = [Score(1, "recorded as chosen"), Abstain("not one of the recorded answers")]
    assert Recorded().score(rollouts) == expected


def test_keeps_the_contract() -> None:
    source = Recorded()
    rollouts = replayed(Replay(), {"chosen": "yes", "rejected": "no"})
    assert source.score(rollouts) == source.score(rollouts)
    with pytest.raises(DataError, match="no column 'chosen'"):
        check_reward(source)


@pytest.mark.parametrize(
    ("meta", "error", "complaint"),
    [
        ({"them": ["yes", "no"], "marks": [1]}, DataError, "prompt 'prompt-0' has 2 answers but 1 scores"),
        ({"them": ["yes", "no"], "marks": 1}, DataError, "column 'marks' must be a list"),
        ({"them": ["yes", "no"]}, DataError, "no column 'marks'"),
        ({"them": ["yes", "no"], "marks": [1, float("nan")]}, FeedbackError, "answer 1 scored nan"),
        ({"them": ["yes", "no"], "marks": [1, "2"]}, FeedbackError, "answer 1 got a str"),
    ],
)
def test_broken_rows_are_named(meta: dict[str, Any], error: type[Exception], complaint: str) -> None:
    rollouts = make_rollouts([("yes", "no")], meta=meta)
    with pytest.raises(error, match=complaint):
        Recorded(answers="them", scores="marks").score(rollouts)
