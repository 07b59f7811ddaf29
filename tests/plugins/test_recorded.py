from __future__ import annotations

from typing import Any

import pytest

from rlaif_builtins.actions.replay import Replay
from rlaif_builtins.recorded import Recorded
from rlaif_core import Abstain, DataError, Outcome, Prompt, Rollouts, Score
from rlaif_core.testing import FakePolicy, check_reward, make_rollouts


def replayed(*metas: dict[str, Any]) -> Rollouts:
    prompts = [Prompt(id=f"p{number}", text="is it", meta=meta) for number, meta in enumerate(metas)]
    return Replay().act(FakePolicy().sampler(seed=0, step=0, group=2), prompts, None)


def values(outcomes: Any) -> list[float | None]:
    return [outcome.value if isinstance(outcome, Score) else None for outcome in outcomes]


def test_chosen_is_one_and_rejected_is_zero() -> None:
    rollouts = replayed({"chosen": "yes", "rejected": "no"}, {"chosen": "no", "rejected": "yes"})
    said = Recorded().score(rollouts)
    assert said == [Score(1, "recorded as chosen"), Score(0, "recorded as rejected")] * 2
    flipped = Recorded().score(rollouts.take([3, 0, 2, 1]))
    assert values(flipped) == [0, 1, 1, 0]


def test_alike_answers_go_by_their_place() -> None:
    rollouts = replayed({"answers": ["yes", "yes"], "scores": [1, 0]})
    assert values(Recorded().score(rollouts)) == [1, 0]


def test_scores_from_a_list() -> None:
    rollouts = replayed({"answers": ["yes", "no", "yes", "maybe"], "scores": [0.5, -2, 3, None]})
    assert values(Recorded().score(rollouts)) == [0.5, -2, 3, None]
    assert Recorded().score(rollouts)[0] == Score(0.5, "recorded as 0.5")
    assert values(Recorded().score(rollouts.take([3, 1, 0, 2]))) == [None, -2, 0.5, 3]


def test_labels_are_scores_and_a_bare_answer_has_none() -> None:
    rollouts = replayed(
        {"completion": "yes", "label": True}, {"completion": "no", "label": -0.5}, {"completion": "red"}
    )
    assert values(Recorded().score(rollouts)) == [1, -0.5, None]


def test_an_answer_that_was_not_recorded_gets_no_opinion() -> None:
    rollouts = make_rollouts([("yes", "blue")], meta={"chosen": "yes", "rejected": "no"})
    expected: list[Outcome] = [Score(1, "recorded as chosen"), Abstain("not one of the recorded answers")]
    assert Recorded().score(rollouts) == expected


def test_keeps_the_contract() -> None:
    source = Recorded()
    rollouts = replayed({"chosen": "yes", "rejected": "no"})
    assert source.score(rollouts) == source.score(rollouts)
    with pytest.raises(DataError, match="its row records no answers"):
        check_reward(source)


def test_broken_rows_are_named() -> None:
    rollouts = make_rollouts([("yes", "no")], meta={"answers": ["yes", "no"], "scores": [1]})
    with pytest.raises(DataError, match="prompt 'prompt-0': column 'answers' holds 2 answers, but column 'scores' 1"):
        Recorded().score(rollouts)
