from __future__ import annotations

import pytest

from rlaif_core import ConfigError, DataError, Prompt
from rlaif_core.testing import FakePolicy
from rlaif_judges.label.answers import Recorded, draw, reference
from rlaif_judges.label.config import AnswersTable


def prompt(**row) -> Prompt:
    return Prompt(id="p", text="?", meta=row)


def answers(row: dict, **table) -> tuple[str, ...]:
    its = prompt(**row)
    return Recorded(AnswersTable(**table), [its]).of(its)


def chat(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": role[0]} for role in roles]


@pytest.mark.parametrize(
    ("row", "table", "expected"),
    [
        ({"answers": ["a", "b", "c"]}, {}, ("a", "b", "c")),
        ({"completions": ["a"], "chosen": "x", "rejected": "y"}, {}, ("a",)),
        ({"chosen": "a", "rejected": "b"}, {}, ("a", "b")),
        ({"completion": "a"}, {}, ("a",)),
        ({"response_1": "a", "response_2": "b"}, {"columns": ["response_2", "response_1"]}, ("b", "a")),
        ({"outputs": ["a", "b"]}, {"columns": "outputs"}, ("a", "b")),
        ({"output": "a"}, {"columns": "output"}, ("a",)),
        ({"completion": chat("user", "assistant")}, {}, ("a",)),
        ({"chosen": chat("assistant"), "rejected": ""}, {}, ("a", "")),
        ({"answers": [chat("assistant"), "b"]}, {}, ("a", "b")),
    ],
)
def test_where_answers_are_found(row, table, expected) -> None:
    assert answers(row, **table) == expected


@pytest.mark.parametrize(
    ("row", "table", "told"),
    [
        ({"chosen": None, "rejected": "b"}, {}, "'p': an answer in column 'chosen' is None, but must be a text"),
        ({"answers": []}, {}, "column 'answers' holds no answer"),
        ({"answers": ["a", 3]}, {}, "is 3, but must be a text"),
        ({"responses": []}, {"columns": "response"}, "no column 'response'; did you mean 'responses'"),
        ({"chosen": chat("assistant", "user"), "rejected": "b"}, {}, "ends with a message of 'user'"),
        ({"completion": "half \ud800"}, {}, "half a character"),
    ],
)
def test_what_is_no_answer_is_said_by_prompt_and_column(row, table, told) -> None:
    with pytest.raises(DataError, match=told):
        answers(row, **table)


def test_where_there_are_none_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"no answers are recorded in prompt 'p' \(columns: label\); name them"):
        answers({"label": 1})


def test_only_the_columns_chosen_and_rejected_say_that_the_first_is_better() -> None:
    its = prompt(chosen="a", rejected="b", one="c", two="d")
    assert Recorded(AnswersTable(), [its]).preferred
    assert not Recorded(AnswersTable(columns=["one", "two"]), [its]).preferred


def test_a_reference_is_read_where_one_is_named_and_there() -> None:
    assert reference(prompt(best="r"), "best") == "r"
    assert reference(prompt(best=None), "best") == ""
    assert reference(prompt(), "") == ""
    with pytest.raises(DataError, match="no column 'best'"):
        reference(prompt(), "best")


def test_drawn_answers_depend_on_seed_and_prompt_and_not_on_their_batch() -> None:
    prompts = [Prompt(id=str(n), text="is it red") for n in range(4)]
    table = AnswersTable(samples=3, max_tokens=4)
    together = list(draw(FakePolicy(), prompts, table, seed=1))
    apart = [next(draw(FakePolicy(), [one], table, seed=1)) for one in prompts]
    assert together == apart
    assert [len(its) for its in together] == [3] * 4
    assert together != list(draw(FakePolicy(), prompts, table, seed=2))
