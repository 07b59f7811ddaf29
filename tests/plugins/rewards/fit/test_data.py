from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from rlaif_core import DataError
from rlaif_rewards.fit.config import DataTable
from rlaif_rewards.fit.data import labelled, preferences

GOOD = {"text": "a b", "label": "x"}
PAIR = {"prompt": "why ?", "chosen": "yes", "rejected": "no"}
ASKED = [{"role": "user", "content": "why ?"}]


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def table(folder: Path, rows: list[dict[str, Any]], **columns: Any) -> DataTable:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataTable(files=str(path), **columns)


def test_labels_are_texts_in_a_fixed_order(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "label": value} for n, value in enumerate([True, False, True])]
    found = labelled(table(tmp_path, rows, label="label"))
    assert found.labels == ("false", "true")
    assert found.targets.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert [shown.answer for shown in found.shown] == ["t0", "t1", "t2"]
    assert found.groups == ("t0", "t1", "t2")


def test_labels_may_be_renamed_and_merged(tmp_path: Path) -> None:
    rows = [{"text": f"t{n}", "label": n} for n in (0, 1, 2)]
    named = {"2": "fine", "0": "toxic", "1": "toxic"}
    found = labelled(table(tmp_path, rows, label="label", labels=named))
    assert found.labels == ("fine", "toxic")
    assert found.targets[:, 1].tolist() == [1, 1, 0]


def test_votes_are_shares(tmp_path: Path) -> None:
    rows = [{"text": "t", "bad": "1", "good": "3"}, {"text": "u", "bad": 2, "good": 0}]
    found = labelled(table(tmp_path, rows[:1] * 2, votes=["bad", "good"]))
    assert found.targets.tolist() == [[0.25, 0.75]] * 2


def test_a_prompt_is_shown_and_groups_the_rows(tmp_path: Path) -> None:
    rows = [{"q": "why ?", "a": "so", "l": "x"}, {"q": "why ?", "a": "no", "l": "y"}]
    found = labelled(table(tmp_path, rows, text="a", prompt="q", label="l"))
    assert (found.shown[0].context, found.shown[0].answer) == ("why ?", "so")
    assert len(set(found.groups)) == 1
    chat = [{**row, "q": [{"role": "user", "content": "why ?"}]} for row in rows]
    found = labelled(table(tmp_path, chat, text="a", prompt="q", label="l"))
    assert found.shown[1].conversation[-1] == {"role": "assistant", "content": "no"}
    assert labelled(
        table(tmp_path, [{**r, "g": n} for n, r in enumerate(rows)], text="a", prompt="q", label="l", group="g")
    ).groups == ("0", "1")


def test_unlabelled_rows_are_dropped_where_that_is_asked_for(tmp_path: Path) -> None:
    rows = [GOOD, {"text": "b", "label": None}, {"text": "c", "label": "y"}]
    assert len(labelled(table(tmp_path, rows, label="label", unlabelled="drop"))) == 2


@pytest.mark.parametrize(
    ("row", "columns", "complaint"),
    [
        (
            {"text": "a"},
            {"label": "label"},
            "row-1: column 'label' is null, but must be a label; mend the row, or drop",
        ),
        ({"text": "a", "label": ""}, {"label": "labl"}, "row-0: column 'labl' is missing; did you mean 'label'"),
        ({"text": " ", "label": "y"}, {"label": "label"}, "row-1: column 'text' is empty"),
        ({"text": "", "label": "y"}, {"label": "label"}, "line 2: column 'text' is empty"),
        (
            {"text": "a", "label": "z"},
            {"label": "label", "labels": {"x": "x"}},
            "row-1: column 'label' says 'z', which",
        ),
        ({"text": "a", "label": "x"}, {"label": "label"}, "every row is 'x': with one label there is nothing to tell"),
        ({"text": "a", "label": "x", "v": 0, "w": 0}, {"votes": ["v", "w"]}, "row-0: column 'v' is a NoneType|null"),
    ],
)
def test_what_cannot_be_learnt_from_is_named_by_row_and_column(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        labelled(table(tmp_path, [GOOD, row], **columns))


def test_a_vote_by_nobody_is_no_label(tmp_path: Path) -> None:
    rows = [{"text": "a", "v": 1, "w": 0}, {"text": "b", "v": 0, "w": 0}]
    with pytest.raises(DataError, match="row-1: column 'v' and the other votes are all 0; drop such rows"):
        labelled(table(tmp_path, rows, votes=["v", "w"]))


def test_pairs_of_every_kind(tmp_path: Path) -> None:
    found = preferences(table(tmp_path, [PAIR, {"prompt": "how ?", "chosen": "b", "rejected": "a"}]))
    assert found.targets.tolist() == [[1, 0, 0]] * 2
    assert (found.people, found.annotators.tolist(), found.margins.tolist()) == ((), [-1, -1], [0, 0])
    rows = [
        {**PAIR, "t": False, "m": 2, "who": "b"},
        {**PAIR, "rejected": "yes", "chosen": "y", "t": True, "m": 0.5, "who": "a"},
    ]
    found = preferences(table(tmp_path, rows, tie="t", margin="m", annotator="who"))
    assert found.targets.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert (found.people, found.annotators.tolist(), found.margins.tolist()) == (("a", "b"), [1, 0], [2, 0.5])
    found = preferences(table(tmp_path, [{**PAIR, "p": 0.7}], probability="p"))
    assert found.targets[0].tolist() == pytest.approx([0.7, 0, 0.3])


@pytest.mark.parametrize(
    ("row", "columns", "complaint"),
    [
        ({**PAIR, "rejected": ""}, {}, "line 1: column 'rejected' holds an empty answer"),
        (
            {"prompt": "why ?", "chosen": "a"},
            {},
            r"'row-0': its row records no answers; columns: chosen\..* name them with \[data\]",
        ),
        ({**PAIR, "rejected": "yes"}, {}, "line 1: columns 'chosen' and 'rejected' hold the same answer, so neither"),
        ({"chosen": "a", "rejected": "b"}, {}, r"share no beginning; name its column with \[data\] prompt"),
        ({"prompt": "why ?", "answers": ["a", "b"], "scores": [1, 1]}, {}, "none of 1 rows records two answers whose"),
        ({**PAIR, "m": math.nan}, {"margin": "m"}, "row-0: column 'm' is NaN, but must be 0 or more"),
        ({**PAIR, "m": "nan"}, {"margin": "m"}, "row-0: column 'm' is 'nan', but must be 0 or more"),
        ({**PAIR, "m": -1}, {"margin": "m"}, "row-0: column 'm' is -1, but must be 0 or more"),
        ({**PAIR, "p": 1.2}, {"probability": "p"}, "row-0: column 'p' is 1.2, but must be a probability"),
        ({**PAIR, "t": "perhaps"}, {"tie": "t"}, "row-0: column 't' is 'perhaps', but must be true or false"),
        (
            {**PAIR, "q": "why ?", "chosen": 7},
            {"prompt": "q"},
            r"column 'chosen' is a int \(7\), but an answer is a text",
        ),
    ],
)
def test_pairs_that_cannot_be_learnt_from(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        preferences(table(tmp_path, [row], **columns))


def test_only_what_a_fit_can_be_told_is_advised(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        preferences(table(tmp_path, [PAIR, {**PAIR, "rejected": ""}]))
    assert str(raised.value).endswith('leave out what cannot be used with [data] broken = "skip"')


CHAT = [*ASKED, *said("yes")], [*ASKED, *said("no")]
HUMAN = "\n\nHuman: why ?\n\nAssistant: "


@pytest.mark.parametrize(
    ("row", "options"),
    [
        (PAIR, {}),
        ({"prompt": ASKED, "chosen": said("yes"), "rejected": said("no")}, {}),  # TRL, conversational
        (dict(zip(("chosen", "rejected"), CHAT, strict=True)), {}),  # TRL, the prompt implicit
        ({"chosen": f"{HUMAN}yes", "rejected": f"{HUMAN}no"}, {"transcripts": True}),
        ({"q": "why ?", "best": "yes", "worst": "no"}, {"columns": {"chosen": "best", "rejected": "worst"}}),
        ({"prompt": "why ?", "answers": ["no", "yes"], "scores": [-0.5, 2]}, {}),
    ],
)
def test_every_format_of_preferences_is_read_as_a_run_reads_it(
    tmp_path: Path, row: dict[str, Any], options: dict[str, Any]
) -> None:
    found = preferences(table(tmp_path, [row], **options, **({"prompt": "q"} if "q" in row else {})))
    assert (found.chosen[0].answer, found.rejected[0].answer) == ("yes", "no")
    assert (found.chosen[0].context, found.groups) == ("why ?", ("why ?",))
    assert [its["content"] for its in found.chosen[0].conversation] == ["why ?", "yes"]


def test_of_scored_answers_every_two_that_differ_are_a_pair(tmp_path: Path) -> None:
    rows = [{"prompt": "why ?", "answers": list("abcd"), "scores": [1, 3, 1, None]}, {**PAIR, "prompt": "x"}]
    rows[1] = {"prompt": "how ?", "answers": ["e", "e"], "scores": [0, 1]}
    found = preferences(table(tmp_path, rows))
    assert [(one.answer, other.answer) for one, other in zip(found.chosen, found.rejected, strict=True)] == [
        ("b", "a"),
        ("b", "c"),
    ]
    assert found.stages.tolist() == [0, 0]
    with pytest.raises(DataError, match="answers with scores say themselves which is the better one"):
        preferences(table(tmp_path, rows, margin="m"))


def test_an_answer_and_all_that_are_worse_are_a_stage(tmp_path: Path) -> None:
    rows = [{"prompt": f"why {n} ?", "answers": list("abc"), "scores": [2, 3, 1]} for n in range(2)]
    found = preferences(table(tmp_path, rows))
    pairs = [one.answer + other.answer for one, other in zip(found.chosen, found.rejected, strict=True)]
    assert pairs == ["ac", "ba", "bc"] * 2
    assert found.stages.tolist() == [0, 1, 1, 2, 3, 3]
    again = found.take([1, 2, 1, 2, 4]).stages.tolist()  # what is drawn twice are two lists
    assert again[0] == again[1] != again[2] == again[3]
    assert again[4] not in again[:4]


def test_conversations_that_begin_alike_are_of_one_group(tmp_path: Path) -> None:
    system = [{"role": "system", "content": "be kind"}]
    rows = [
        {"prompt": [*system, *ASKED], "chosen": said("a"), "rejected": said("b")},
        {
            "prompt": [*ASKED, *said("a"), {"role": "user", "content": "so ?"}],
            "chosen": said("c"),
            "rejected": said("d"),
        },
    ]
    assert preferences(table(tmp_path, rows)).groups == ("why ?", "why ?")


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"prompt": "why ?", "completion": "yes"}, {"prompt": "prompt"}),
        ({"prompt": ASKED, "completion": said("yes")}, {"prompt": "prompt"}),
        ({"messages": [*ASKED, *said("yes")]}, {"prompt": "messages"}),
        ({"prompt": "why ?", "answer": "yes"}, {"prompt": "prompt", "text": "answer"}),
    ],
)
def test_an_answer_is_classified_behind_its_prompt(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, str]
) -> None:
    found = labelled(table(tmp_path, [{**row, "label": value} for value in (0, 1)], label="label", **columns))
    assert (found.shown[0].context, found.shown[0].answer, found.groups[0]) == ("why ?", "yes", "why ?")
    assert found.labels == ("0", "1")


def test_an_answer_that_is_none_is_told_by_its_own_name(tmp_path: Path) -> None:
    rows = [{"prompt": "why ?", "a": 7, "label": 1}, {"prompt": "why ?", "a": "so", "label": 0}]
    with pytest.raises(DataError, match=r"row-0: column 'a' is a int \(7\), but an answer is a text"):
        labelled(table(tmp_path, rows, label="label", prompt="prompt", text="a"))


def test_rows_without_a_text_are_left_out_where_that_is_asked_for(tmp_path: Path) -> None:
    rows = [GOOD, {"text": "", "label": "y"}, {"text": "c", "label": "y"}]
    assert len(labelled(table(tmp_path, rows, label="label", broken="skip"))) == 2


def test_files_are_spoken_of_by_the_table_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        labelled(DataTable(files=str(tmp_path / "none.jsonl"), label="x"))
    assert "there is no such file" in str(raised.value)
    assert any("[data]" in note for note in raised.value.__notes__)


def test_a_map_that_fails_is_of_the_table_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text("def fail(row):\n    return row['none']\n")
    with pytest.raises(KeyError) as raised:
        preferences(table(tmp_path, [PAIR], map=f"{tmp_path}/rows.py:fail"))
    assert any("[data]" in note for note in raised.value.__notes__)


def test_rows_may_be_grouped_by_what_was_asked_itself(tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n // 2}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(8)]
    assert len(set(preferences(table(tmp_path, rows, group="prompt")).groups)) == 4
