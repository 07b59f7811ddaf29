"""Rows of every shape of the ecosystem become prompts with recorded answers; what is wrong is told by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.config import PromptTable
from rlaif_core.prompts import load_prompts, prompts_of
from rlaif_core.recordings import recordings

Row = dict[str, Any]


def user(content: str) -> Row:
    return {"role": "user", "content": content}


def assistant(content: str) -> Row:
    return {"role": "assistant", "content": content}


ASK: Row = {"prompt": "is it red"}
PAIR: Row = {**ASK, "chosen": "yes", "rejected": "no"}
LABELLED: Row = {**ASK, "completion": "yes", "label": True}
HH = "\n\nHuman: is it red?\n\nAssistant:"
ONE_CHAT = [user("is it red")]
QA = {"chosen": "right_answer", "rejected": "hallucinated_answer"}


def written(path: Path, rows: list[Row]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def shape(prompt: rl.Prompt) -> tuple[Any, list[tuple[str, float | None]]]:
    """What is asked (a text, or roles and contents), and the answers with their scores."""
    asked = [f"{its['role']}: {its['content']}" for its in prompt.messages] or prompt.text
    said = recordings(prompt)
    return asked, [(its.text, its.outcome.value if isinstance(its.outcome, rl.Score) else None) for its in said]


@pytest.mark.parametrize(
    ("row", "keys", "asked", "answers"),
    [
        (PAIR, {}, "is it red", [("yes", 1), ("no", 0)]),
        ({"chosen": HH + " yes", "rejected": HH + " no"}, {}, HH, [(" yes", 1), (" no", 0)]),
        ({"chosen": "It is red", "rejected": "It is blue"}, {}, "It is", [(" red", 1), (" blue", 0)]),
        (
            {"chosen": HH + " yes", "rejected": HH + " no"},
            {"transcripts": True},
            ["user: is it red?"],
            [("yes", 1), ("no", 0)],
        ),
        (
            {"prompt": ONE_CHAT, "chosen": [assistant("yes")], "rejected": [*ONE_CHAT, assistant("no")]},
            {},
            ["user: is it red"],
            [("yes", 1), ("no", 0)],
        ),
        (
            {"chosen": [*ONE_CHAT, assistant("yes")], "rejected": [*ONE_CHAT, assistant("no")]},
            {"system": "be brief"},
            ["system: be brief", "user: is it red"],
            [("yes", 1), ("no", 0)],
        ),
        ({**ASK, "chosen": [*ONE_CHAT, assistant("y")], "rejected": "n"}, {}, "is it red", [("y", 1), ("n", 0)]),
        (LABELLED, {}, "is it red", [("yes", 1)]),
        ({**LABELLED, "label": False}, {}, "is it red", [("yes", 0)]),
        ({**LABELLED, "label": -1.5}, {}, "is it red", [("yes", -1.5)]),
        ({**LABELLED, "label": "safe"}, {}, "is it red", [("yes", None)]),
        ({**ASK, "completion": "yes"}, {}, "is it red", [("yes", None)]),
        (
            {"prompt": ONE_CHAT, "completion": [assistant("yes")], "label": True},
            {},
            ["user: is it red"],
            [("yes", 1)],
        ),
        ({"messages": [*ONE_CHAT, assistant("yes")]}, {}, ["user: is it red"], [("yes", None)]),
        (
            {"messages": [*ONE_CHAT, assistant("yes")], "completion": "no", "label": True},
            {},
            ["user: is it red"],
            [("no", 1)],
        ),
        (
            {"prompt": HH, "completion": " yes", "label": True},
            {"transcripts": True},
            ["user: is it red?"],
            [("yes", 1)],
        ),
        ({"text": HH + " yes"}, {"transcripts": True}, ["user: is it red?"], [("yes", None)]),
        ({**ASK, "completions": ["a", "b"], "labels": [True, False]}, {}, "is it red", [("a\nb", 0)]),
        ({**ASK, "answers": ["a", "b"], "scores": [1, None]}, {}, "is it red", [("a", 1), ("b", None)]),
        (
            {"question": "is it", "better": "a", "worse": "b"},
            {"column": "question", "columns": {"chosen": "better", "rejected": "worse"}},
            "is it",
            [("a", 1), ("b", 0)],
        ),
        ({**LABELLED, "mark": 3}, {"columns": {"label": "mark"}}, "is it red", [("yes", 3)]),
        ({**PAIR, **LABELLED}, {}, "is it red", [("yes", 1), ("no", 0)]),
        ({**PAIR, **LABELLED, "label": 5}, {"format": "unpaired"}, "is it red", [("yes", 5)]),
        ({**PAIR, **LABELLED}, {"format": "completion"}, "is it red", [("yes", None)]),
        (
            {"messages": [*ONE_CHAT, assistant("yes")], "chosen": [assistant("yes")], "rejected": [assistant("no")]},
            {},
            ["user: is it red"],
            [("yes", 1), ("no", 0)],
        ),
    ],
)
def test_every_format_of_the_ecosystem_is_read(
    row: Row, keys: Row, asked: Any, answers: list[tuple[str, float | None]], tmp_path: Path
) -> None:
    (from_file,) = load_prompts(PromptTable(files=written(tmp_path / "a.jsonl", [row]), **keys))
    (given,) = prompts_of([row], PromptTable(**keys))
    assert shape(from_file) == shape(given) == (asked, answers)


def test_other_columns_stay() -> None:
    (prompt,) = prompts_of([{**PAIR, "level": 3, "id": "x"}], PromptTable())
    assert dict(prompt.meta) == {"chosen": "yes", "rejected": "no", "level": 3}
    (prompt,) = prompts_of([{**ASK, "answer": "x", "mark": 2}], PromptTable(columns={"completion": "answer"}))
    assert dict(prompt.meta) == {"completion": "x", "mark": 2}


def test_where_prompts_alone_are_wanted_answers_are_not_looked_at() -> None:
    rows = [{**PAIR, "rejected": "yes"}, {**PAIR, "rejected": None}]
    assert len(prompts_of(rows, PromptTable(format="prompt"))) == 2
    (prompt,) = prompts_of([{"chosen": HH + " yes", "rejected": HH + " no"}], PromptTable(format="prompt"))
    assert prompt.text == HH


@pytest.mark.parametrize(
    ("rows", "keys", "complaint"),
    [
        (
            [PAIR, {**PAIR, "rejected": None}],
            {},
            "line 2: column 'rejected' is null, but an answer is a text or a list",
        ),
        ([{**PAIR, "rejected": ""}], {}, "line 1: column 'rejected' holds an empty answer"),
        ([{**PAIR, "rejected": " \n"}], {}, "line 1: column 'rejected' holds an empty answer"),
        (
            [{**PAIR, "rejected": "yes"}],
            {},
            "line 1: columns 'chosen' and 'rejected' hold the same answer, so neither is",
        ),
        (
            [{**PAIR, "rejected": 3}],
            {},
            r"line 1: column 'rejected' is a int \(3\), but an answer is a text or a list of",
        ),
        (
            [{**PAIR, "chosen": ["yes"]}],
            {},
            r"line 1: column 'chosen' holds a str \('yes'\) among its messages; a message",
        ),
        (
            [{**PAIR, "chosen": [{"role": "assistant"}]}],
            {},
            "'chosen': the content of a message is missing, but must be",
        ),
        (
            [{**PAIR, "chosen": [{"content": "yes"}]}],
            {},
            "column 'chosen': the role of a message is missing, but must be",
        ),
        (
            [{**PAIR, "chosen": [{"role": "assistant", "content": None}]}],
            {},
            "'chosen': the content of a message is null, but must be a text",
        ),
        (
            [{**PAIR, "chosen": [assistant("a"), user("b")]}],
            {},
            "last message of an answer has the role 'user', but must",
        ),
        (
            [{**PAIR, "chosen": [user("x"), assistant("a")]}],
            {},
            "holds 2 messages that are not the prompt's; an answer is",
        ),
        (
            [{**PAIR, "chosen": ONE_CHAT}],
            {},
            "column 'chosen' holds no message behind the prompt; the answer is missing",
        ),
        (
            [{"chosen": "yes", "rejected": "no"}],
            {},
            "line 1: there is no prompt: no column for it, and .* share no begin",
        ),
        (
            [{"chosen": HH + " a", "rejected": HH + " a"}],
            {},
            "line 1: columns 'chosen' and 'rejected' are the same, so",
        ),
        (
            [{"chosen": HH + " a", "rejected": "\n\nHuman: or?\n\nAssistant: b"}],
            {},
            "line 1: 'chosen' and 'rejected' part at turn 1, which is not the assistant's in both",
        ),
        (
            [{"chosen": HH + " a", "rejected": HH + " a\n\nHuman: b"}],
            {},
            "line 1: one of 'chosen' and 'rejected' goes on",
        ),
        ([{"chosen": HH, "rejected": HH + " yes"}], {}, "line 1: column 'chosen' holds an empty answer"),
        (
            [LABELLED, {**LABELLED, "label": None}],
            {},
            "line 2: column 'label' is null, but must be true, false or a num",
        ),
        (
            [{**LABELLED, "label": "yes"}],
            {"format": "unpaired"},
            r"line 1: column 'label' is a str \('yes'\), but must be true, false or a number",
        ),
        (
            [{**LABELLED, "label": float("nan")}],
            {},
            "line 1: column 'label' is nan, but must be a finite number that float",
        ),
        (
            [{**LABELLED, "label": 1e40}],
            {},
            r"line 1: column 'label' is 1e\+40, but must be a finite number that float32",
        ),
        (
            [{**LABELLED, "completion": None}],
            {},
            "line 1: column 'completion' is null, but an answer is a text or a list",
        ),
        (
            [{**ASK, "completions": ["a", "b"], "labels": [True]}],
            {},
            "holds 2 answers, but column 'labels' 1; give one for",
        ),
        (
            [{**ASK, "completions": [], "labels": []}],
            {},
            "column 'completions' is an empty list; it must hold an answer",
        ),
        (
            [{**ASK, "completions": ["a", ""], "labels": [1, 0]}],
            {},
            "number 2 in column 'completions' holds an empty answ",
        ),
        (
            [{**ASK, "completions": ["a", "b"], "labels": ["+", "-"]}],
            {},
            r"number 1 in column 'labels' is a str \('\+'\), but must be true, false or a number",
        ),
        (
            [{**ASK, "answers": "a", "scores": [1]}],
            {"format": "scored"},
            r"'answers' is a str \('a'\), but must be a list",
        ),
        (
            [{"messages": [assistant("a")]}],
            {},
            "'messages' holds an answer alone, and no message before it; there is no",
        ),
        (
            [{"messages": [user("a"), assistant("")]}],
            {},
            "'messages' ends with an empty message of the assistant's; cut",
        ),
        (
            [{"messages": [user("a"), assistant("b")]}, {"messages": [user("a")]}],
            {},
            "line 2: it records no answer, as the rows before it do: neither in a column 'completion' nor by a last",
        ),
        ([{"messages": [{"role": "user"}]}], {}, "line 1: column 'messages': the content of a message is missing"),
        (
            [{"messages": [{"role": "user", "content": ["a"]}]}],
            {},
            r"content of a message is a list \(\['a'\]\), but must",
        ),
        ([{"messages": []}], {}, "line 1: column 'messages' is empty; a prompt is a text or a list of chat messages"),
        (
            [{"prompt": [user("a"), assistant("b")]}],
            {},
            "'prompt' ends with the assistant's message, but a prompt ends wi",
        ),
        ([{"prompt": None}], {}, "line 1: column 'prompt' is null; a prompt is a text or a list of chat messages"),
        ([{"prompt": {"role": "user"}}], {}, "line 1: column 'prompt' is a dict; a prompt is a text or a list of chat"),
        ([{**ASK, "answer": "a"}], {"columns": {"completion": "answr"}}, "no column 'answr'; did you mean 'answer'"),
        (
            [{**ASK, "chosen": "a"}],
            {"format": "preference"},
            "no column 'rejected', but answers are recorded as chosen and",
        ),
        (
            [ASK, {"id": "row-1", "prompt": "?"}, {"prompt": "\ud800"}],
            {},
            r"line 3: half a character \(a lone surrogate\)",
        ),
    ],
)
def test_what_is_wrong_is_told_by_file_line_and_column(
    rows: list[Row], keys: Row, complaint: str, tmp_path: Path
) -> None:
    file = written(tmp_path / "a.jsonl", rows)
    with pytest.raises(rl.DataError, match=complaint) as error:
        load_prompts(PromptTable(files=file, **keys))
    assert str(error.value).startswith(f"{file}, line {len(rows)}: ")


def test_rows_from_elsewhere_have_numbers() -> None:
    with pytest.raises(
        rl.DataError, match=r"^row 1: column 'completion' holds half a character \(a lone surrogate\)\. Mend"
    ):
        prompts_of([LABELLED, {**LABELLED, "completion": "x\ud800"}], PromptTable())
    with pytest.raises(rl.DataError, match=r"^row 1: it is a list, but must be a mapping from column to value"):
        prompts_of([ASK, ["is it red"]], PromptTable())
    with pytest.raises(rl.DataError, match=r"^row 0: it has a column called 3; the name of a column is a text"):
        prompts_of([{**ASK, 3: "x"}], PromptTable())


def test_the_line_is_that_of_the_second_file_where_it_is_there(tmp_path: Path) -> None:
    files = [
        written(tmp_path / "a.jsonl", [PAIR, PAIR]),
        written(tmp_path / "b.jsonl", [PAIR, {**PAIR, "chosen": "no"}]),
    ]
    with pytest.raises(rl.DataError, match=r"b\.jsonl, line 2: columns"):
        load_prompts(PromptTable(files=files))
    with pytest.raises(rl.DataError, match=r"^row 0: columns"):  # of a part of a file it is not known
        load_prompts(PromptTable(files=files, split="train[3:]"))


def test_advice_fits_the_case() -> None:
    wrong = [{**PAIR, "rejected": "yes"}]
    for keys, said in (({}, True), ({"format": "preference"}, False)):
        with pytest.raises(rl.DataError, match=r'broken = "skip"') as error:
            prompts_of(wrong, PromptTable(**keys))
        assert ('format = "prompt"' in str(error.value)) == said


def test_broken_rows_may_be_left_out_and_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [PAIR, {**PAIR, "rejected": "yes"}, {**PAIR, "chosen": ""}, PAIR, PAIR]
    table = PromptTable(broken="skip")
    assert [prompt.id for prompt in prompts_of(rows, table)] == ["row-0", "row-3", "row-4"]
    told = "warning: 2 rows were left out. The first: row 1: columns 'chosen' and 'rejected' hold the same answer"
    assert capsys.readouterr().err.startswith(told)
    assert len(prompts_of(rows, table.model_copy(update={"limit": 2}))) == 2
    assert "1 row was" not in capsys.readouterr().err
    with pytest.raises(rl.DataError, match="the dataset has no rows; 1 rows cannot be used; nothing to train on"):
        prompts_of(rows[1:2], table)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "keys", "count", "answers"),
    [
        ("pref_hh_harmless", {"broken": "skip"}, 499, 2),
        ("pref_hh_harmless", {"broken": "skip", "transcripts": True}, 499, 2),
        ("cai_samples", {"column": "rl_prompt", "columns": {"completion": "response", "label": "pm_score"}}, 580, 1),
        ("math_gsm8k", {"column": "question"}, 1200, 0),
        ("math_gsm8k", {"column": "question", "columns": {"completion": "answer"}}, 1200, 1),
        ("hallucination_qa", {"column": "question", "columns": QA}, 286, 2),
        ("truthfulqa_judged", {}, 4000, 1),
        ("refusals_xstest", {}, 786, 1),
        ("text_shakespeare", {}, 5416, 0),
        ("prompts_mt_bench", {"map": "{here}/turns.py:first", "column": "question"}, 53, 0),
    ],
)  # fmt: skip
def test_published_data_is_read_as_it_is(
    name: str, keys: Row, count: int, answers: int, real_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "turns.py").write_text("def first(row):\n    return {'question': row['turns'][0]}\n")
    keys = keys | ({"map": keys["map"].format(here=tmp_path)} if "map" in keys else {})
    prompts = load_prompts(PromptTable(files=str(real_data / "data" / f"{name}.jsonl"), **keys))
    assert len(prompts) == count
    if answers:
        assert {len(recordings(prompt)) for prompt in prompts} == {answers}
    if keys.get("transcripts"):
        assert {prompt.messages[-1]["role"] for prompt in prompts} == {"user"}


@pytest.mark.real
def test_an_empty_answer_in_published_data_is_told_by_its_line(real_data: Path) -> None:
    with pytest.raises(
        rl.DataError, match=r"pref_hh_harmless\.jsonl, line 82: column 'chosen' holds an empty answer\. M"
    ):
        load_prompts(PromptTable(files=str(real_data / "data" / "pref_hh_harmless.jsonl")))
