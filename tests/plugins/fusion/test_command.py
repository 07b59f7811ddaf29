from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from rlaif_core.cli import main
from rlaif_core.fusing import Fusion
from rlaif_core.plugins import Plugins

Made = Callable[..., Path]


def test_verb_is_offered() -> None:
    assert any("fusion" in str(origin) for origin, _ in Plugins.load().implementations("rlaif_commands"))


def test_writes_preferences_report_and_fusion(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    path = made(120)
    assert main(["fuse", str(path)]) == 0
    told = capsys.readouterr().out
    folder = path.parent / "fused"
    report = json.loads((folder / "report.json").read_text())
    rows = datasets.load_from_disk(str(folder / "pairs")).to_list()
    given = {row["id"]: row for row in map(json.loads, (path.parent / "pairs.jsonl").read_text().splitlines())}
    assert "by stacking" in told
    assert report["pairs"] == 120
    for row in rows:
        source = given[row["id"]]
        pair = (source["first"], source["second"])
        assert (row["chosen"], row["rejected"]) == (pair if row["first_chosen"] else pair[::-1])
        assert 0.5 < row["probability"] <= 1
        if source["label"] is not None:  # trusted labels stand
            assert row["trusted"]
            assert row["first_chosen"] == (source["label"] == 1)
            assert row["probability"] == 1
    fusion = Fusion.load(folder / "fusion.json")
    row = next(row for row in rows if not row["trusted"])
    said = fusion.probability(row["votes"], positions={"judge": -1.0 if given[row["id"]]["swapped"] else 1.0})
    assert said is not None
    assert max(said, 1 - said) == pytest.approx(row["probability"])


def test_prints_json_where_asked(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    path = made(60)
    assert main(["fuse", str(path), "--json", "--out", str(path.parent / "other")]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((path.parent / "other" / "report.json").read_text())


def test_folder_that_exists_is_left_alone(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    path = made(20)
    (path.parent / "fused").mkdir()
    assert main(["fuse", str(path)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert list((path.parent / "fused").iterdir()) == []


def test_failure_leaves_nothing_behind(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    path = made(4, lambda row: row | {"person": 0, "label": None}, replace=("", ""))
    text = path.read_text()
    path.write_text(text[: text.index('[[sources]]\nname = "judge"')] + text[text.index("[fusion]") :])
    assert main(["fuse", str(path)]) == 1
    assert "no source takes a side" in capsys.readouterr().err
    assert sorted(file.name for file in path.parent.iterdir()) == ["fuse.toml", "pairs.jsonl"]


@pytest.mark.slow
def test_a_run_trains_on_what_was_written(made: Made) -> None:
    path = made(60, lambda row: row | {"label": None})
    assert main(["fuse", str(path)]) == 0
    config = f"""
[run]
steps = 1
out = "{path.parent}/run"
tensorboard = false
[policy]
model = "builtin:tiny"
[prompts]
dataset = "{path.parent}/fused/pairs"
batch = 2
group = 2
[[actions]]
use = "replay"
[[rewards]]
use = "length"
target = 3
[credit]
use = "group"
[optimiser]
use = "dpo"
"""
    (path.parent / "run.toml").write_text(config)
    assert main(["check", str(path.parent / "run.toml")]) == 0
    assert main(["run", str(path.parent / "run.toml")]) == 0
