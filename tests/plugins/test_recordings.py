from __future__ import annotations

from typing import Any

import pytest

from rlaif_builtins.recordings import Columns, as_list, column
from rlaif_core import DataError, Prompt


def prompt(**meta: Any) -> Prompt:
    return Prompt(id="p7", text="is it", meta=meta)


def test_chosen_before_rejected_or_the_list() -> None:
    row = prompt(chosen="yes", rejected="no", better="is", worse="it", answers=["one", "two", "one"])
    assert Columns().texts(row) == ["yes", "no"]
    assert Columns(chosen="better", rejected="worse").texts(row) == ["is", "it"]
    assert Columns(answers="answers").texts(row) == ["one", "two", "one"]


def test_the_last_message_is_the_answer() -> None:
    said = [{"role": "user", "content": "is it"}, {"role": "assistant", "content": "yes"}]
    assert Columns().texts(prompt(chosen=said, rejected=said[1:])) == ["yes", "yes"]
    assert Columns(answers="them").texts(prompt(them=[said, "no"])) == ["yes", "no"]


@pytest.mark.parametrize(
    ("columns", "meta", "complaint"),
    [
        (Columns(), {"chosen": "yes"}, "prompt 'p7': its row has no column 'rejected'; columns: chosen"),
        (Columns(), {}, "columns: none besides the prompt"),
        (Columns(), {"chosen": "yes", "rejected": ""}, "an answer in column 'rejected' is empty"),
        (Columns(), {"chosen": " \n", "rejected": "no"}, "an answer in column 'chosen' is empty"),
        (Columns(), {"chosen": None, "rejected": "no"}, "in column 'chosen' is not text, but None"),
        (Columns(), {"chosen": [{"role": "assistant"}], "rejected": "no"}, "in column 'chosen' is not text"),
        (
            Columns(),
            {
                "chosen": [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "thanks"}],
                "rejected": "no",
            },
            "the last message of an answer in column 'chosen' has the role 'user', but must be the assistant's; cut",
        ),
        (Columns(answers="them"), {"them": [[{"role": "model", "content": "yes"}]]}, "has the role 'model', but must"),
        (Columns(answers="them"), {"them": []}, "column 'them' holds no answer"),
        (Columns(answers="them"), {"them": "yes"}, "column 'them' must be a list, but is 'yes'"),
        (Columns(answers="them"), {"them": {"a": 1}}, "must be a list"),
        (Columns(answers="them"), {"them": ["yes", 3]}, "is not text, but 3"),
    ],
)
def test_rows_without_answers_are_named(columns: Columns, meta: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match="p7") as error:
        columns.texts(prompt(**meta))
    assert complaint in str(error.value)


def test_columns_and_lists() -> None:
    assert column(prompt(note=None), "note") is None
    assert as_list(prompt(scores=(1, 2)), "scores") == [1, 2]
