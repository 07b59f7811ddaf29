from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlaif_core import ConfigError, DataError
from rlaif_fusion.config import FuseConfig
from rlaif_fusion.reading import read

Made = Callable[..., Path]


def test_columns_become_votes_probabilities_and_margins(made: Made) -> None:
    path = made(6)
    rows = read(FuseConfig.load(path))
    given = [json.loads(line) for line in (path.parent / "pairs.jsonl").read_text().splitlines()]
    meant = {1: 1.0, 2: 0.0, 0: 0.5, None: None}
    assert rows.said["person"] == [meant[row["person"]] for row in given]
    assert rows.said["judge"] == pytest.approx([row["said"]["judge"] for row in given])
    assert rows.said["model"] == pytest.approx([row["score_1"] - row["score_2"] for row in given])
    assert rows.kinds == {"person": "vote", "judge": "probability", "model": "score"}
    assert rows.positions == {"judge": [-1.0 if row["swapped"] else 1.0 for row in given]}
    assert [prompt.id for prompt in rows.prompts] == [row["id"] for row in given]
    sizes = [(len(row["first"]), len(row["second"])) for row in given]
    assert rows.lengths() == [(a - b) / (a + b) for a, b in sizes]


def test_held_out_labels_are_apart_and_whole_prompts(made: Made) -> None:
    path = made(80, lambda row: row | {"label": 1})
    config = FuseConfig.load(path)
    rows = read(config)
    learnt = {p.text for p, label in zip(rows.prompts, rows.trusted, strict=True) if label is not None}
    out = {p.text for p, label in zip(rows.prompts, rows.held_out, strict=True) if label is not None}
    assert not learnt & out
    assert len(learnt) == len(out) == 20
    assert read(config).held_out == rows.held_out


def test_codes_may_be_anything_and_probabilities_run_between_their_ends(made: Made) -> None:
    path = made(3, lambda row: row | {"person": "A", "said": {"judge": 1.25}})
    text = path.read_text().replace('column = "person"', 'column = "person"\nfirst = "A"\nsecond = "B"\ntie = "C"')
    path.write_text(text.replace('kind = "probability"', 'kind = "probability"\nfirst = 1.0\nsecond = 2.0'))
    rows = read(FuseConfig.load(path))
    assert rows.said["person"] == [1.0] * 3
    assert rows.said["judge"] == [0.75] * 3


def test_order_may_be_the_same_for_all(made: Made) -> None:
    for word, place in (("first", 1.0), ("second", -1.0)):
        rows = read(FuseConfig.load(made(2, replace=('order = "swapped"', f'order = "{word}"'))))
        assert rows.positions == {"judge": [place, place]}


def test_labels_from_a_file_by_id(made: Made, tmp_path: Path) -> None:
    gold = [{"key": f"row {n}", "gold": n % 3} for n in range(4)]
    (tmp_path / "gold.jsonl").write_text("\n".join(map(json.dumps, gold)) + "\n\n")
    table = f'[trusted]\nfile = "{tmp_path}/gold.jsonl"\nid = "key"\ncolumn = "gold"\nheld_out = 0'
    path = made(6, replace=('[trusted]\ncolumn = "label"', table))
    assert read(FuseConfig.load(path)).trusted == [0.5, 1.0, 0.0, 0.5, None, None]
    (tmp_path / "gold.jsonl").write_text('{"key": "row 0"}\n')
    with pytest.raises(DataError, match=r"gold\.jsonl:1 lacks"):
        read(FuseConfig.load(path))
    (tmp_path / "gold.jsonl").write_text('{"key": "other", "gold": 1}\n')
    with pytest.raises(DataError, match="none of its ids"):
        read(FuseConfig.load(path))
    (tmp_path / "gold.jsonl").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        read(FuseConfig.load(path))
    (tmp_path / "gold.jsonl").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        read(FuseConfig.load(path))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"person": 3}, "source 'person' says 3, but the values are first = 1, second = 2, tie = 0"),
        ({"said": {"judge": 1.5}}, "a probability runs from"),
        ({"said": {"judge": "0.5"}}, "no finite number"),
        ({"score_1": True}, "no finite number"),
        ({"first": 7}, "an answer is a text"),
        ({"first": None}, "an answer is a text"),
        ({"label": "yes"}, "the trusted label says 'yes'"),
    ],
)
def test_value_that_does_not_fit_is_named_by_row(made: Made, changes: dict[str, Any], complaint: str) -> None:
    path = made(1, lambda row: row | changes)
    with pytest.raises(DataError, match=f"row 'row 0'.*{complaint}"):
        read(FuseConfig.load(path))


def test_missing_column_is_suggested_for(made: Made) -> None:
    path = made(2, replace=('column = "person"', 'column = "persan"'))
    with pytest.raises(DataError, match="no column 'persan'; did you mean 'person'"):
        read(FuseConfig.load(path))


def test_entry_that_is_missing_is_nothing_said(made: Made) -> None:
    path = made(2, replace=('"said.judge"', '"said.other"'))
    assert read(FuseConfig.load(path)).said["judge"] == [None, None]
