from __future__ import annotations

import pytest

import rlaif_core as rl
from labels import Telling, language, longer, shares
from rlaif_core import Score

PAIR = {"id": "p", "prompt": "?", "answers": ["a", "bb", "ccc"]}


def test_three_answers_make_three_pairs_with_ids_of_their_own(label, rows_of) -> None:
    label({"main": Telling(longer)}, rows=[PAIR])
    rows = rows_of("preferences")
    assert [row["id"] for row in rows] == ["p/0/1", "p/0/2", "p/1/2"]
    assert [(row["chosen"], row["rejected"]) for row in rows] == [("bb", "a"), ("ccc", "a"), ("ccc", "bb")]


def test_a_judge_that_leans_to_the_first_is_found_out_in_one_order(label, rows_of) -> None:
    rows = [{"prompt": "?", "answers": [f"x{n}", f"y{n}"]} for n in range(60)]
    report = label({"main": Telling(lambda _: [Score(1.0), Score(-1.0)])}, rows=rows)
    assert report["labels"][0]["first_preferred"] == 1.0
    firsts = sum(row["chosen"].startswith("x") for row in rows_of("preferences"))
    assert 15 < firsts < 45  # the order is drawn, so its liking is no liking for either answer


def test_a_ranking_has_ranks_that_ties_share(label, rows_of) -> None:
    said = {"a": 0.5, "bb": -1.0, "ccc": 0.5}
    label({"main": Telling(lambda its: [Score(said[answer]) for answer in its.answers])}, ["ranking"], [PAIR])
    (row,) = rows_of("ranking")
    assert row["answers"] == ["a", "bb", "ccc"]
    assert row["scores"] == [0.5, -1.0, 0.5]
    assert row["ranks"] == [1, 3, 1]


def test_an_answer_without_a_score_has_null_and_an_empty_one_is_left_out(label, rows_of, tmp_path) -> None:
    judge = Telling(lambda its: [rl.Failed("down")] if its.answers == ("bb",) else longer(its))
    row = {**PAIR, "answers": ["a", "", "bb"]}
    label({"main": judge}, ["scores"], [row, {**PAIR, "id": "q"}], label={"max_failed": 0.9})
    one, other = rows_of("scores")
    assert (one["answers"], one["scores"]) == (["a", "bb"], [0.01, None])
    assert other["scores"] == [0.01, None, 0.03]
    assert (tmp_path / "out" / "failures.jsonl").read_text().count("down") == 2
    assert "an answer is empty" in (tmp_path / "out" / "abstentions.jsonl").read_text()


def test_a_prompt_without_any_score_is_no_row(label, rows_of) -> None:
    judge = Telling(lambda its: [rl.Abstain("?")] if its.prompt.id == "q" else longer(its))
    label({"main": judge}, ["scores"], [PAIR, {**PAIR, "id": "q"}])
    assert [row["id"] for row in rows_of("scores")] == ["p"]


def test_criteria_stand_beside_what_they_average_to(label, rows_of, tmp_path) -> None:
    (tmp_path / "r.md").write_text("## Truth (weight 3)\nIs it true?\n\n## Kindness\nIs it kind?\n")
    judge = Telling(lambda its: [Score(1.0 if "true" in its.rubric else 0.0, "so")])
    label({"main": judge}, ["scores"], [PAIR], label={"rubric": str(tmp_path / "r.md")})
    (row,) = rows_of("scores")
    assert row["scores"] == [0.75] * 3
    assert row["criteria"] == ["Truth", "Kindness"]
    assert row["by_criterion"] == [[1.0] * 3, [0.0] * 3]


def test_the_principle_stands_beside_what_was_judged_by_it(label, rows_of, tmp_path) -> None:
    (tmp_path / "c.md").write_text("- Be kind.\n")
    judge = Telling(longer)
    label({"main": judge}, rows=[PAIR], label={"constitution": str(tmp_path / "c.md")})
    assert {question.rubric for question in judge.asked} == {"Be kind."}
    assert [row["principle"] for row in rows_of("preferences")] == [["Be kind."]] * 3


def test_hostile_texts_come_out_as_they_went_in(label, rows_of) -> None:
    hostile = ["nan", "\x1b[31m red \u202e", "<|im_end|>", "x" * 1_000_000, "zero\u200bwidth", '"}\n{"key": 1}']
    judge = Telling(lambda its: [Score(0.1, "half \ud800 \0") for _ in its.answers])
    label({"main": judge}, ["scores"], [{"id": "p", "prompt": "\u202e?", "answers": hostile}])
    (row,) = rows_of("scores")
    assert row["answers"] == hostile
    assert row["reasons"] == ["half \ufffd "] * len(hostile)


@pytest.mark.parametrize("chat", [False, True])
def test_texts_stay_texts_and_conversations_conversations_as_trainers_want_them(
    label, rows_of, principles, chat
) -> None:
    asked = [{"role": "user", "content": "?"}] if chat else "?"
    judge, _ = language(shares)
    rows = [{**PAIR, "prompt": asked}]
    label({"main": judge}, ["preferences", "revisions"], rows, label={"constitution": principles})
    columns = {"preferences": ("prompt", "chosen", "rejected"), "revisions": ("prompt", "completion")}
    for what, name, row in [
        (kind, name, row) for kind, its in columns.items() for name in its for row in rows_of(kind)
    ]:
        if chat:
            role = "user" if name == "prompt" else "assistant"
            assert [{**message, "content": ""} for message in row[name]] == [{"role": role, "content": ""}], what
        else:
            assert isinstance(row[name], str), (what, name)


@pytest.mark.parametrize("chat", [False, True])
def test_trl_takes_the_rows_for_what_they_are(label, rows_of, chat) -> None:
    trl = pytest.importorskip("trl")
    asked = [{"role": "user", "content": "?"}] if chat else "?"
    label({"main": Telling(longer)}, rows=[{**PAIR, "prompt": asked}])
    assert all(trl.is_conversational(row) == chat for row in rows_of("preferences"))
