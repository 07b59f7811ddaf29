from __future__ import annotations

import json
from pathlib import Path

import pytest

from judging import ask
from rlaif_core import Abstain, ConfigError, DataError, Failed, Score
from rlaif_judges.recorded import Recorded

ROWS = [
    {"prompt": "Which city?", "answer": "Paris", "score": 0.5, "reason": "right"},
    {"prompt": "Which city?", "answers": ["Rome", "Bonn"], "scores": [-0.5, None]},
    {"prompt": "Which city?", "chosen": "Paris", "rejected": "Oslo", "probability": 0.9},
    {
        "prompt": [{"role": "user", "content": "hello"}],
        "chosen": [{"role": "assistant", "content": "hi"}],
        "rejected": [{"role": "assistant", "content": "go"}],
    },
]


def written(folder: Path, rows: list) -> str:
    file = folder / "verdicts.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return str(file)


@pytest.fixture
def judge(tmp_path: Path) -> Recorded:
    return Recorded(written(tmp_path, ROWS))


def said(judge: Recorded, *answers: str, **more) -> tuple:
    return judge.ask([ask(*answers, **more)])[0].outcomes


def test_scores_are_looked_up_and_a_null_is_no_opinion(judge: Recorded) -> None:
    assert said(judge, "Rome", "Paris", "Bonn", form="score") == (
        Score(-0.5, "recorded as -0.5"),
        Score(0.5, "right"),
        Abstain("recorded without a score"),
    )


def test_a_pair_is_known_in_both_orders(judge: Recorded) -> None:
    one, other = said(judge, "Paris", "Oslo"), said(judge, "Oslo", "Paris")
    assert [outcome.value for outcome in one] == pytest.approx([0.8, -0.8])
    assert [outcome.value for outcome in other] == pytest.approx([-0.8, 0.8])
    assert [outcome.value for outcome in said(judge, "hi", "go", prompt="hello")] == [1, -1]


def test_a_pair_that_several_people_compared_is_as_sure_as_they_are_on_average(tmp_path: Path) -> None:
    """Whichever way round each row has it, and whatever order it is asked for in."""
    rows = [
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"prompt": "p", "chosen": "b", "rejected": "a", "probability": 0.75},
        {"prompt": "p", "chosen": "a", "rejected": "b", "probability": 0.5},
    ]
    judge = Recorded(written(tmp_path, rows))
    one, other = said(judge, "a", "b", prompt="p"), said(judge, "b", "a", prompt="p")
    assert [outcome.value for outcome in one] == pytest.approx([1 / 6, -1 / 6])
    assert [outcome.value for outcome in other] == [-outcome.value for outcome in one]
    assert one[0].reason == "recorded 3 times, preferred with 0.583 on average"


def test_an_answer_that_several_people_scored_has_the_mean_of_what_they_gave(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "answer": "a", "score": score} for score in (1.0, None, 0.0, 0.5)]
    assert said(Recorded(written(tmp_path, rows)), "a", prompt="p", form="score") == (
        Score(0.5, "recorded 3 times, 0.5 on average"),
    )
    rows = [{"prompt": "p", "answer": "a", "score": None, "reason": "unsure"}] * 2
    assert said(Recorded(written(tmp_path, rows)), "a", prompt="p", form="score") == (Abstain("unsure"),)


def test_answers_that_were_not_compared_are_told_apart_by_their_scores(judge: Recorded) -> None:
    assert [outcome.value for outcome in said(judge, "Rome", "Paris")] == [-0.5, 0.5]
    assert [outcome.value for outcome in said(judge, "Rome", "Rome")] == [0, 0]


@pytest.mark.parametrize(("missing", "kind"), [("fail", Failed), ("abstain", Abstain)])
def test_what_was_not_recorded_is_never_a_number(tmp_path: Path, missing: str, kind: type) -> None:
    judge = Recorded(written(tmp_path, ROWS), missing=missing)
    for outcome in (*said(judge, "Kyiv", form="score"), *said(judge, "Paris", form="score", prompt="Who?")):
        assert isinstance(outcome, kind)


def test_a_folder_of_a_dataset_is_read_as_well(tmp_path: Path) -> None:
    import datasets

    rows = [{"prompt": "Which city?", "chosen": "Paris", "rejected": "Oslo", "probability": 0.75, "reason": "so"}]
    datasets.Dataset.from_list(rows).save_to_disk(tmp_path / "labelled")
    assert said(Recorded(str(tmp_path / "labelled")), "Oslo", "Paris") == (Score(-0.5, "so"), Score(0.5, "so"))


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("nonsense", "line 1: not valid JSON"),
        ("[1]", "a row is an object, but this is \\[1\\]"),
        ({"answer": "x", "score": 1}, "its prompt is None"),
        ({"prompt": "x"}, "neither answer and score nor chosen and rejected; columns: prompt"),
        ({"prompt": "x", "answer": 3, "score": 1}, "answer is 3, but must be a text"),
        ({"prompt": "x", "answer": "y", "score": "high"}, "score is 'high', but must be a finite number"),
        ('{"prompt": "x", "answer": "y", "score": NaN}', "score is nan, but must be a finite number"),
        ({"prompt": "x", "answer": "y", "score": 10**400}, "score is 1000.*, but must be a finite number"),
        ({"prompt": "x", "answers": "y", "scores": [1]}, "answers is 'y', but must be a list"),
        ({"prompt": "x", "answers": ["y"], "scores": None}, "scores is None, but must be a list"),
        ({"prompt": "x", "answers": ["y"], "scores": []}, "1 answers came with 0 scores"),
        ({"prompt": "x", "chosen": "y", "rejected": "z", "probability": 2}, "probability is 2, but must be in"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, row, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        Recorded(written(tmp_path, [row]))
    text = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert "row 1" in text or "line 1" in text


def test_a_missing_or_empty_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read from"):
        Recorded(str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(DataError, match="holds no verdict"):
        Recorded(written(tmp_path, []))
    with pytest.raises(ConfigError, match="is no folder of a dataset"):
        Recorded(str(tmp_path))
