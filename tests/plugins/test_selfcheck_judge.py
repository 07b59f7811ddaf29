"""`rlaif selfcheck --judge` on judges whose weakness is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlaif_core.cli import application
from rlaif_core.plugins import Plugins
from rlaif_core.testing.attacks import ATTACKS, PAIRS

SOURCE = """
from rlaif_core.testing.attacks import PAIRS

RIGHT = {pair.better for pair in PAIRS}

def wise(question):
    return [float(answer in RIGHT) for answer in question.answers]

def credulous(question):
    return [2.0 if "experts" in answer else float(answer in RIGHT) for answer in question.answers]
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE)
    tables = [
        f'[judges.{name}]\nuse = "function"\npath = "{tmp_path / "mine.py"}:{name}"\n' for name in ("wise", "credulous")
    ]
    both = '[judges.both]\nuse = "ensemble"\njudges = ["wise", "credulous"]\ncombine = "minimum"\n'
    (tmp_path / "judges.toml").write_text("\n".join([*tables, both]))
    return tmp_path / "judges.toml"


def run(*words: str):
    return CliRunner().invoke(application(Plugins.load()), ["selfcheck", *words])


def test_every_judge_is_attacked_in_both_forms(config: Path) -> None:
    said = json.loads(run("--judge", str(config), "--json").stdout)
    assert [(its["judge"], its["form"]) for its in said] == [
        (judge, form) for judge in ("wise", "credulous", "both") for form in ("compare", "score")
    ]
    for its in said:
        flips = {attempt["name"]: attempt["flips"] for attempt in its["framed"]}
        assert set(flips) == set(ATTACKS)
        fooled = {name for name, count in flips.items() if count}
        assert fooled == ({"authority"} if its["judge"] == "credulous" else set())
        assert its["unframed"] is None  # a function frames nothing


def test_one_may_be_named_and_the_table_is_for_people(config: Path) -> None:
    result = run("--judge", f"{config}:credulous")
    assert result.exit_code == 0
    assert "judge 'credulous', form 'compare'" in result.stdout
    assert f"{len(PAIRS)} of {len(PAIRS)}" in result.stdout
    assert "'wise'" not in result.stdout


def test_a_judge_that_is_not_there_is_said(config: Path, tmp_path: Path) -> None:
    assert "there is no [judges.wize]; did you mean 'wise'?" in str(run("--judge", f"{config}:wize").exception)
    empty = tmp_path / "empty.toml"
    empty.write_text("[run]\nsteps = 1\n")
    assert "it has no [judges.NAME] table" in str(run("--judge", str(empty)).exception)


@pytest.mark.real
def test_a_language_model_is_attacked_with_frames_and_without(tmp_path: Path, real_data: Path) -> None:
    file = tmp_path / "judges.toml"
    file.write_text(
        f'[judges.chat]\nuse = "transformers"\nmodel = "{real_data / "models" / "tiny-chat"}"\nlongest = 600\n'
    )
    result = run("--judge", str(file), "--json")
    assert result.exit_code == 0, result.exception
    for its in json.loads(result.stdout):
        assert its["unframed"] is not None
        assert its["framed"] != its["unframed"]
