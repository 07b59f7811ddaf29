from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.config import PromptTable
from rlaif_core.prompts import prompts_for
from rlaif_rewards.selfsupervised.paraphrasing import FRAMES, paraphrased


def written(folder: Path, *prompts: Any) -> PromptTable:
    rows = [json.dumps({"id": f"q{number}", "prompt": prompt}) for number, prompt in enumerate(prompts)]
    (folder / "q.jsonl").write_text("".join(f"{row}\n" for row in rows))
    return PromptTable(files=str(folder / "q.jsonl"))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("If it rains, do we swim?", "Do we swim if it rains?"),
        ("Ada has 3 cats. Bob has 2. How many have both?", "How many have both? Ada has 3 cats. Bob has 2."),
        ("If it rains, is that bad?", None),  # "that" would point nowhere
        ("Is it red? Is it blue?", None),
        ("It is 3.5 m long.", None),
        ("Is it red?", None),
        ("", None),
    ],
)
def test_parts_change_places_where_a_rule_says_so(text: str, other: str | None, tmp_path: Path) -> None:
    said = [row["prompt"] for row in paraphrased(written(tmp_path, text or "x"), ways=2, frames=("{question} Well?",))]
    assert said == [text or "x", other or f"{text or 'x'} Well?"]


def test_rows_of_a_question_are_neighbours_under_one_name(tmp_path: Path) -> None:
    source = written(tmp_path, *(f"is it {n}" for n in range(20)))
    rows = list(paraphrased(source, ways=4))
    assert len(rows) == 80
    order = [key for key, _ in groupby(row["question"] for row in rows)]
    assert sorted(order) == sorted(f"q{n}" for n in range(20))
    assert order != [f"q{n}" for n in range(20)]
    assert order == [key for key, _ in groupby(row["question"] for row in paraphrased(source, ways=4))]
    assert order != [key for key, _ in groupby(row["question"] for row in paraphrased(source, ways=4, seed=1))]
    assert len({row["id"] for row in rows}) == 80
    for at in range(0, 80, 4):
        assert [row["paraphrase"] for row in rows[at : at + 4]] == [0, 1, 2, 3]
        assert len({row["prompt"] for row in rows[at : at + 4]}) == 4


def test_of_a_chat_the_last_message_is_put_otherwise(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "is it"}]
    _, row = paraphrased(written(tmp_path, chat), ways=2, frames=("and {question}",))
    assert row["prompt"] == [chat[0], {"role": "user", "content": "and is it"}]


def test_a_question_that_cannot_be_put_so_often_is_left_out(tmp_path: Path) -> None:
    source = written(tmp_path, "If it rains, do we swim?", "do we")
    assert {row["question"] for row in paraphrased(source, ways=3, frames=("{question}!",))} == {"q0"}
    assert not list(paraphrased(source, ways=3, frames=("{question}!",), reorder=False))


def test_batches_hold_whole_questions_without_shuffling(tmp_path: Path) -> None:
    source = written(tmp_path, *(f"is it {n}" for n in range(5)))
    table = PromptTable(
        dataset="rlaif_rewards.selfsupervised.paraphrasing:paraphrased",
        options={"source": {"files": source.files}, "ways": 3},
        shuffle=False,
    )
    prompts = prompts_for(table, 0)
    for _ in range(7):  # across the ends of epochs as well
        batch = prompts.take(6)
        assert [prompt.meta["paraphrase"] for prompt in batch] == [0, 1, 2] * 2
        assert len({prompt.meta["question"] for prompt in batch}) == 2


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"ways": 1}, "ways is 1, but must be 2 or more, for their answers are compared"),
        ({"frames": ("well?",)}, r"frame 'well\?' does not say where the question goes; write \{question\} in it"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(rl.ConfigError, match=complaint):
        list(paraphrased(written(tmp_path, "is it"), **options))


@pytest.mark.real
def test_real_questions(real_data: Path) -> None:
    source = PromptTable(files=str(real_data / "data" / "math_gsm8k.jsonl"), column="question", limit=300)
    rows = list(paraphrased(source, ways=3))
    assert len(rows) == 900
    moved = [row for row in rows if row["paraphrase"] == 1 and not row["prompt"].startswith(FRAMES[0][:10])]
    assert len(moved) > 200
    plain = {row["question"]: row["prompt"] for row in rows if row["paraphrase"] == 0}
    for row in moved:  # not a word is lost, and none is added
        assert (
            sorted(row["prompt"].lower().split()) == sorted(plain[row["question"]].lower().split())
            or "If" in (plain[row["question"]])
        )
