"""Instruments made on the spot: judges that score by a function, functions written to a file, answers to ask about."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlaif_core import Question, Score, Verdict


class FunctionJudge:
    """Scores each answer by a function of its question, and remembers what it was asked."""

    def __init__(self, function: Callable[[Question], Any]) -> None:
        self.function = function
        self.asked: list[Question] = []

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        self.asked += questions
        said = [self.function(question) for question in questions]
        return [Verdict(outcomes=(Score(its, "said so") if isinstance(its, int | float) else its,)) for its in said]


@pytest.fixture(scope="session")
def judging() -> Callable[[Callable[[Question], Any]], FunctionJudge]:
    """judging(function): a judge that says of each question what the function does."""
    return FunctionJudge


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], str]:
    """written("def f(text): ..."): the path "file.py:f" of the function, in a file of its own."""
    count = 0

    def write(source: str) -> str:
        nonlocal count
        count += 1
        file = tmp_path / f"functions_{count}.py"
        file.write_text(source, encoding="utf-8")
        return f"{file}:{source.partition('def ')[2].partition('(')[0]}"

    return write


@pytest.fixture(scope="session")
def real_rows(real_data: Path) -> Callable[[str], list[dict[str, Any]]]:
    """real_rows("refusals_xstest"): the rows of one of the public data sets."""

    def read(name: str) -> list[dict[str, Any]]:
        with (real_data / "data" / f"{name}.jsonl").open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    return read
