from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlaif_builtins.actions.replay import Replay
from rlaif_builtins.recorded import Recorded
from rlaif_core import Abstain, DataError, Outcome, Prompt, Rollouts, Score
from rlaif_core.config import PromptTable
from rlaif_core.prompts import load_prompts, prompts_of
from rlaif_core.testing import FakePolicy, check_reward, make_rollouts

HH = "\n\nHuman: is it?\n\nAssistant:"
ASKED = {"role": "user", "content": "is it"}
YES, NO = ({"role": "assistant", "content": text} for text in ("yes", "no"))


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


@pytest.mark.parametrize(
    ("row", "scores"),
    [
        ({"prompt": "is it", "chosen": "yes", "rejected": "no"}, [1, 0]),
        ({"chosen": "is it red", "rejected": "is it blue"}, [1, 0]),
        ({"chosen": f"{HH} yes", "rejected": f"{HH} no"}, [1, 0]),
        ({"chosen": [ASKED, YES], "rejected": [ASKED, NO]}, [1, 0]),
        ({"prompt": [ASKED], "chosen": [YES], "rejected": [NO]}, [1, 0]),
        ({"prompt": "is it", "completion": "yes", "label": True}, [1]),
        ({"prompt": [ASKED], "completion": [YES], "label": 0.25}, [0.25]),
        ({"prompt": "is it", "completion": "yes"}, [None]),
        ({"messages": [ASKED, YES]}, [None]),
        ({"prompt": "is it", "completions": ["yes", "no"], "labels": [True, False]}, [0]),
        ({"prompt": "is it", "answers": ["yes", "no"], "scores": [2, None]}, [2, None]),
    ],
)
def test_a_row_of_every_format_is_replayed_and_scored(row: dict[str, Any], scores: list[float | None]) -> None:
    (prompt,) = prompts_of([row], PromptTable())
    rollouts = Replay().act(FakePolicy().sampler(seed=0, step=0, group=8), [prompt], None)
    assert rollouts.recorded
    assert values(Recorded().score(rollouts)) == scores


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


@pytest.mark.real
@pytest.mark.parametrize("transcripts", [False, True])
def test_published_pairs_are_replayed_without_a_function_of_one_s_own(transcripts: bool, real_data: Path) -> None:
    file = str(real_data / "data" / "pref_hh_harmless.jsonl")
    prompts = load_prompts(PromptTable(files=file, transcripts=transcripts, broken="skip", limit=20))
    rollouts = Replay().act(FakePolicy().sampler(seed=0, step=0, group=8), prompts, None)
    assert values(Recorded().score(rollouts)) == [1, 0] * 20
    assert all(bool(prompt.messages) == transcripts for prompt in rollouts.prompts)
