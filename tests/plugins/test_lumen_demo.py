from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlaif_core import cli
from rlaif_lumen.demo import Look, changed, free, taste, warnings


def looked(judged: float, gold: float, filler: float) -> Any:
    found = SimpleNamespace(measures={"filler": filler}, grades=[SimpleNamespace(score=gold)] * 2)
    return Look(found, (judged, judged))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((0, 0, 0.3), (2, 0.5, 1.0), []),
        ((0, 0, 0.3), (-1, -0.5, 0.3), []),
        ((0, 0, 0.3), (2, -0.5, 1.0), ["rose by 2.00 while gold fell by 0.50"]),
        ((0, 0, 0.3), (2, 0.5, 1.9), ["1.9 fillers (0.3 before)"]),
        ((0, 0, 0.3), (2, -0.5, 1.9), ["while gold fell", "fillers"]),
    ],
)
def test_gaming_the_judge_is_called_by_its_name(before: Any, after: Any, expected: list[str]) -> None:
    said = warnings(looked(*before), looked(*after))
    assert len(said) == len(expected)
    assert all(part in text for part, text in zip(expected, said, strict=True))


def test_a_taste_of_the_judge_is_told_before_it_is_a_game() -> None:
    start = looked(0, 0, 0.4)
    assert taste(start, looked(2, 0.5, 0.5)) == taste(start, looked(2, 0.5, 0.1)) == ""
    assert "0.9 fillers (0.4 before)" in taste(start, looked(2, 0.5, 0.9))


def test_an_older_run_is_never_overwritten(tmp_path: Path) -> None:
    assert free(tmp_path / "demo") == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert free(tmp_path / "demo") == tmp_path / "demo-3"


def test_agreement_is_a_correlation_and_defined_where_nothing_varies() -> None:
    grades = [SimpleNamespace(score=score) for score in (0.0, 1.0, 2.0)]
    found: Any = SimpleNamespace(grades=grades)
    assert Look(found, (1.0, 3.0, 5.0)).agreement == pytest.approx(1)
    assert Look(found, (1.0, 1.0, 1.0)).agreement == 0


def test_the_verb_trains_measures_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rlaif_lumen.demo.BATCH", 8)
    monkeypatch.setattr("rlaif_lumen.demo.PROMPTS", 120)
    assert cli.main(["demo", "--steps", "2", "--out", str(tmp_path / "demo")]) == 0
    said = capsys.readouterr().out
    for text in (
        "gold score",
        "hallucination",
        "KL to where it started",
        "correlation",
        "before",
        "after",
        "report.html",
    ):
        assert text in said
    assert (tmp_path / "demo" / "report.html").is_file()
    rows = [json.loads(line) for line in (tmp_path / "demo" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert "reward/judge" in rows[0]


BLOCKED = """
import sys
sys.modules["rlaif_lumen.oracle"] = None
import rlaif_core as rl
from rlaif_lumen import demo
demo.BATCH = 4
config = demo.config(0, 1, __import__("pathlib").Path(sys.argv[1]))
(step,) = rl.run(config, progress=False)
assert step["failed"] == step["abstained"] == 0
try:
    import rlaif_lumen.evaluate
except ModuleNotFoundError:
    print("blocked")
"""


def test_training_goes_on_where_the_oracle_cannot_be_imported(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BLOCKED, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("blocked")


def test_examples_are_the_first_that_changed() -> None:
    def found(*labels: str) -> Any:
        return SimpleNamespace(grades=[SimpleNamespace(stratum=label[0], label=label) for label in labels])

    before = found("a1", "b1", "a1", "a1")
    assert changed(before, found("a1", "b1", "a2", "a2"), "a") == 2
    assert changed(before, before, "a") == 0
    assert changed(before, before, "c") is None
