from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlaif_core import Abstain, DataError, Prompt, Score
from rlaif_core.recordings import format_of, recordings


def prompt(*messages: dict[str, str], **meta: Any) -> Prompt:
    return Prompt(id="p7", text="is it", messages=messages, meta=meta)


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def told(its: Prompt) -> list[tuple[str, float | None]]:
    return [(it.text, it.outcome.value if isinstance(it.outcome, Score) else None) for it in recordings(its)]


@pytest.mark.parametrize(
    ("columns", "form", "answers"),
    [
        ({"rejected": "no", "chosen": "yes"}, "preference", [("yes", 1), ("no", 0)]),
        ({"completion": "yes", "label": True}, "unpaired", [("yes", 1)]),
        ({"completion": "yes", "label": False}, "unpaired", [("yes", 0)]),
        ({"completion": "yes", "label": -2.5}, "unpaired", [("yes", -2.5)]),
        ({"completion": "yes", "label": np.float32(0.5)}, "unpaired", [("yes", 0.5)]),
        ({"completion": "yes"}, "completion", [("yes", None)]),
        ({"completion": "yes", "label": "safe"}, "completion", [("yes", None)]),
        ({"completions": ["so", "it is"], "labels": [True, True]}, "stepwise", [("so\nit is", 1)]),
        ({"completions": ["so", "it", "is"], "labels": [0.9, 0.2, 0.7]}, "stepwise", [("so\nit\nis", 0.2)]),
        ({"answers": ["a", "b", "a"], "scores": [1, None, 3]}, "scored", [("a", 1), ("b", None), ("a", 3)]),
        ({"answers": ["a"], "scores": np.array([2.5])}, "scored", [("a", 2.5)]),
    ],
)
def test_what_each_format_says(columns: dict[str, Any], form: str, answers: list[tuple[str, float | None]]) -> None:
    assert format_of(columns) == form
    assert told(prompt(**columns, other=3)) == answers


def test_reasons_say_what_was_recorded() -> None:
    (step,) = recordings(prompt(completions=["a", "b", "c"], labels=[True, False, False]))
    assert step.outcome == Score(0.0, "the worst of its 3 steps, number 2, is recorded as 0")
    assert recordings(prompt(completion="a", label=True))[0].outcome == Score(1.0, "recorded as true")
    assert recordings(prompt(completion="a"))[0].outcome == Abstain("recorded without a score")


@pytest.mark.parametrize(
    "columns", [{}, {"chosen": "yes"}, {"label": True}, {"answers": "yes", "scores": 1}, {"labels": [1]}, {"text": "a"}]
)
def test_other_columns_record_no_answers(columns: dict[str, Any]) -> None:
    assert format_of(columns) is None
    with pytest.raises(
        DataError, match=r"prompt 'p7': its row records no answers; columns: .* name them with \[prompts"
    ):
        recordings(prompt(**columns))


def test_of_several_formats_the_first_counts() -> None:
    assert format_of({"completion": "a", "label": 1, "chosen": "b", "rejected": "c"}) == "preference"
    assert format_of({"completion": "a", "answers": ["a"], "scores": [1]}) == "scored"


def test_an_answer_may_repeat_the_prompt_s_messages() -> None:
    asked, yes, no = said("user", "is it"), said("assistant", "yes"), said("assistant", "no")
    whole = [said("system", "be brief"), asked, yes]
    assert told(prompt(chosen=whole, rejected=[no])) == [("yes", 1), ("no", 0)]
    chat = prompt(said("system", "be kind"), said("user", "a"), said("assistant", "b"), asked, completion=None)
    for before in ([], [asked], [said("user", "a"), said("assistant", "b"), asked]):
        meta = {"completion": [*before, yes], "label": 1}
        its = Prompt(id="p7", messages=chat.messages, meta=meta)
        if len(before) == 1:
            with pytest.raises(DataError, match="holds 2 messages that are not the prompt's"):
                recordings(its)
        else:
            assert told(its) == [("yes", 1)]


@pytest.mark.parametrize(
    ("meta", "complaint"),
    [
        ({"chosen": "yes", "rejected": None}, "column 'rejected' is null, but an answer is a text or a list"),
        ({"chosen": "yes", "rejected": "yes"}, "hold the same answer, so neither is preferred"),
        ({"completion": "yes", "label": float("inf")}, "column 'label' is inf, but must be a finite number"),
        ({"answers": ["yes", 3], "scores": [1, 2]}, r"number 2 in column 'answers' is a int \(3\)"),
        ({"answers": ["yes"], "scores": ["1"]}, r"number 1 in column 'scores' is a str \('1'\)"),
        ({"completion": [said("model", "yes")]}, "last message of an answer has the role 'model', but must"),
        ({"completion": b"yes"}, r"column 'completion' is a bytes \(b'yes'\)"),
    ],
)
def test_what_is_wrong_is_told_with_the_prompt(meta: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=f"prompt 'p7': .*{complaint}"):
        recordings(prompt(**meta))
