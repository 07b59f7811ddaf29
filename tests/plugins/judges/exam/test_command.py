"""`rlaif judge` on judges whose worth is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlaif_core import ConfigError, DataError
from rlaif_core.cli import application
from rlaif_core.plugins import Plugins
from rlaif_judges.exam.config import ExamConfig
from rlaif_judges.exam.work import exam

SOURCE = """
def wise(question):
    return [float("right" in answer) for answer in question.answers]

def wordy(question):
    return [float(len(answer)) / 100 for answer in question.answers]
"""


def run(*words: str):
    return CliRunner().invoke(application(Plugins.load()), ["judge", *words])


@pytest.fixture
def tables(tmp_path: Path) -> dict:
    (tmp_path / "mine.py").write_text(SOURCE)
    rows = []
    for number in range(40):
        good, bad = f"right {number}", f"wrong, but at some length {number}" if number % 2 else f"no {number}"
        swapped = number % 4 > 1
        rows.append(
            {
                "input": f"question {number}",
                "one": bad if swapped else good,
                "other": good if swapped else bad,
                "label": 2 if swapped else 1,
                "by_one": "wordy" if swapped else "nobody",
                "by_other": "nobody" if swapped else "wordy",
            }
        )
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return {
        "prompts": {"files": str(tmp_path / "pairs.jsonl"), "column": "input"},
        "answers": {"columns": ["one", "other"]},
        "gold": {"column": "label", "first": 1, "second": 2},
        "judges": {name: {"use": "function", "path": f"{tmp_path / 'mine.py'}:{name}"} for name in ("wise", "wordy")},
        "exam": {"out": str(tmp_path / "exam")},
    }


def test_judges_are_examined_and_what_was_found_is_written_down(tables: dict, tmp_path: Path) -> None:
    result = exam(ExamConfig.of(tables))
    wise, wordy = result.judges
    assert (wise.accuracy.value, wordy.accuracy.value) == (1.0, 0.5)
    assert wise.kappa == 1.0
    assert (wordy.lengths.longer, wordy.lengths.shorter) == (1.0, 0.0)
    assert result.kappas[("wise", "wordy")] == pytest.approx(0.0)
    written = json.loads((tmp_path / "exam" / "report.json").read_text())
    assert [its["judge"] for its in written["judges"]] == ["wise", "wordy"]


def test_a_calibration_is_fitted_and_can_be_named_by_a_judge(tables: dict, tmp_path: Path) -> None:
    tables["exam"] |= {"calibrate": "platt", "judges": ["wordy"]}
    result = exam(ExamConfig.of(tables))
    assert set(result.calibrations) == {"calibration-wordy.json"}
    from rlaif_judges.hygiene import Hygiene
    from rlaif_judges.opening import calibrator_of

    calibrator = calibrator_of(Hygiene(calibration=str(tmp_path / "exam" / "calibration-wordy.json")))
    assert calibrator(0.9) + calibrator(0.1) == pytest.approx(1)


def test_preferring_ones_own_answers_is_found(tables: dict) -> None:
    tables["exam"] |= {"own": {"wordy": "wordy"}, "author": ["by_one", "by_other"]}
    _, wordy = exam(ExamConfig.of(tables)).judges
    assert wordy.own_bias == pytest.approx(0.5)  # where its own answer is the longer one, which is never right


def test_people_see_tables_and_programs_json(tables: dict, tmp_path: Path) -> None:
    import tomli_w

    file = tmp_path / "exam.toml"
    file.write_text(tomli_w.dumps(tables))
    shown = run(str(file), "--set", "exam.calibrate=isotonic")
    assert shown.exit_code == 0, shown.exception
    for text in ("wise", "100.0%", "calibration-wordy.json", "report.json", "kappa"):
        assert text in shown.stdout
    assert json.loads(run(str(file), "--json").stdout)["judges"][0]["accuracy"]["value"] == 1.0


@pytest.mark.parametrize(
    ("change", "error", "complaint"),
    [
        ({"exam": {"judges": ["wize"]}}, ConfigError, r"there is no \[judges.wize\]; did you mean 'wise'"),
        ({"exam": {"own": {"nobody": "x"}}}, ConfigError, r"there is no \[judges.nobody\]"),
        ({"exam": {"own": {"wise": "x"}}}, ConfigError, "name the column with their authors"),
        ({"exam": {"own": {"wise": "x"}, "author": "by_one"}}, DataError, "must give the authors of both answers"),
        ({"answers": {"columns": ["one"]}, "gold": None}, ConfigError, "nothing says which answer is better"),
        ({"answers": {"columns": ["one", "other", "one"]}}, DataError, "there are 3; give a list"),
        ({"exam": {"rubric": "RUBRIC"}}, ConfigError, "has 2 criteria; examine by one at a time"),
        ({"exam": {"calibrat": "platt"}}, ConfigError, "did you mean 'calibrate'"),
    ],
)
def test_what_does_not_fit_is_said(tables: dict, change: dict, error: type, complaint: str, tmp_path: Path) -> None:
    if change.get("exam") == {"rubric": "RUBRIC"}:
        (tmp_path / "rubric.md").write_text("## a\nx\n## b\ny\n")
        change = {"exam": {"rubric": str(tmp_path / "rubric.md")}}
    tables = {**tables, **change}
    tables = {name: its for name, its in tables.items() if its is not None}
    with pytest.raises(error, match=complaint):
        exam(ExamConfig.of(tables))
