from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import rlaif_core as rl
from rlaif_core.offers import KINDS
from rlaif_core.scaffold import scaffold
from rlaif_core.show import singular


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_written_whole(kind: str, tmp_path: Path) -> None:
    folder = scaffold(singular(kind), "my-part", tmp_path)
    assert folder == tmp_path / "rlaif-my-part"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        "README.md",
        "pyproject.toml",
        "rlaif_my_part.py",
        "tests/test_rlaif_my_part.py",
    ]
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "rlaif-my-part"
    assert list(project["entry-points"]["rlaif"]) == ["my_part"]
    for path in folder.rglob("*.py"):
        ast.parse(path.read_text())
    text = "".join(path.read_text() for path in folder.rglob("*.*"))
    assert "$" not in text
    snippet = (folder / "README.md").read_text().partition("```toml\n")[2].partition("```")[0]
    tables = tomllib.loads(snippet)
    assert "my_part" in str(tables)


@pytest.mark.parametrize(
    ("name", "folder", "function"),
    [
        ("taste", "rlaif-taste", "taste"),
        ("good-taste", "rlaif-good-taste", "good_taste"),
        ("good_taste", "rlaif-good-taste", "good_taste"),
        ("rlaif-taste", "rlaif-taste", "taste"),
        ("taste2", "rlaif-taste2", "taste2"),
    ],
)
def test_hyphens_become_underscores_where_python_wants_them(
    name: str, folder: str, function: str, tmp_path: Path
) -> None:
    made = scaffold("rewards", name, tmp_path)
    assert made.name == folder
    assert f"def {function}(prompt: rl.Prompt" in (made / f"rlaif_{function}.py").read_text()


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("My Taste", "'My Taste' cannot name a plugin.*; try 'my-taste'"),
        ("2taste", "; try 'taste'"),
        ("good--taste", "; try 'good-taste'"),
        ("class", "'class' cannot name a plugin; use small letters, digits and hyphens, a letter first"),
        ("len", "'len' cannot name a plugin.*, no Python word$"),
        ("Len", ", no Python word$"),
        ("rlaif-str", "'rlaif-str' cannot name a plugin"),
        ("", "'' cannot name a plugin.*; try 'my-plugin'"),
        ("../taste", "; try 'taste'"),
        ("rl", "'rl' cannot name a plugin"),
        ("вкус", "; try 'my-plugin'"),
    ],
)
def test_names_that_cannot_be_are_refused_with_one_that_can(name: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(rl.ConfigError, match=complaint):
        scaffold("reward", name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "rlaif-taste").mkdir()
    with pytest.raises(rl.ConfigError, match=r"rlaif-taste exists already; choose another name, or another place with"):
        scaffold("reward", "taste", tmp_path)
    assert not list((tmp_path / "rlaif-taste").iterdir())


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    with pytest.raises(rl.PluginError, match=r"there is a reward source 'length' from rlaif-core .* already; choose"):
        scaffold("reward", "length", tmp_path)
    assert scaffold("credit", "length", tmp_path).is_dir()  # of another kind it is free


def test_an_unknown_kind_suggests_one(tmp_path: Path) -> None:
    with pytest.raises(rl.PluginError, match="there is no kind 'rewad'; did you mean 'reward'"):
        scaffold("rewad", "taste", tmp_path)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(rl.RlaifError, match=r"cannot write .*rlaif-taste \(Not a directory\); choose another place"):
        scaffold("reward", "taste", tmp_path / "file")
