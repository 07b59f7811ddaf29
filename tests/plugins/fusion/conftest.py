"""A small data set of pairs that three sources judged, as a file and a config."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
[data]
files = "{folder}/pairs.jsonl"
[[sources]]
name = "person"
column = "person"
[[sources]]
name = "judge"
column = "said.judge"
kind = "probability"
order = "swapped"
[[sources]]
name = "model"
kind = "score"
columns = ["score_1", "score_2"]
[trusted]
column = "label"
[fusion]
out = "{folder}/fused"
"""


def judged(number: int, dice: random.Random) -> dict[str, Any]:
    """A row; the first answer is better where `label` is 1, which only every other row tells."""
    better = dice.random() < 0.5
    sign = 1 if better else -1
    row = {
        "id": f"row {number}",
        "prompt": f"question {number // 2}",
        "first": "a" * dice.randint(1, 9),
        "second": "b" * dice.randint(1, 9),
        "person": (1 if better else 2) if dice.random() < 0.85 else 0,
        "said": {"judge": min(0.99, max(0.01, 0.5 + sign * 0.25 + dice.gauss(0, 0.25)))},
        "swapped": dice.random() < 0.5,
        "score_1": sign * 1.5 + dice.gauss(0, 1.5),
        "score_2": dice.gauss(0, 0.5),
        "label": (1 if better else 2) if number % 2 else None,
    }
    if dice.random() < 0.1:
        row["person"] = None
    return row


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """made(count, change, **replacements): the path of a config beside its data; `change` mends a row."""

    def make(
        count: int = 120, change: Callable[[dict[str, Any]], Any] = dict, replace: tuple[str, str] = ("", "")
    ) -> Path:
        dice = random.Random(0)
        with (tmp_path / "pairs.jsonl").open("w", encoding="utf-8") as file:
            for number in range(count):
                row = judged(number, dice)
                file.write(json.dumps(change(row) or row) + "\n")
        text = CONFIG.format(folder=tmp_path).replace(*replace) if replace[0] else CONFIG.format(folder=tmp_path)
        (tmp_path / "fuse.toml").write_text(text, encoding="utf-8")
        return tmp_path / "fuse.toml"

    return make
