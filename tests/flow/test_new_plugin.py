"""What `rlaif new` writes works as it is: every kind passes its own tests, beside the others and by a real install."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rlaif_core.cli import main
from rlaif_core.offers import KINDS
from rlaif_core.show import singular

pytestmark = pytest.mark.slow


def written(kind: str, into: Path) -> Path:
    """The folder of a fresh plugin of that kind."""
    assert main(["new", kind, f"fresh-{kind}", "--out", str(into)]) == 0
    return into / f"rlaif-fresh-{kind}"


def registered(folder: Path, site: Path) -> None:
    """The metadata that an editable install would leave in `site`."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [f"{name} = {target}" for name, target in project["entry-points"]["rlaif"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[rlaif]", *lines, ""]))


def run(*command: str | Path, path: list[Path], folder: Path) -> str:
    """What a command says that must succeed, with `path` importable."""
    python_path = os.pathsep.join([*map(str, path), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": python_path}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tests_of_every_kind_pass(tmp_path: Path) -> None:
    folders = [written(singular(kind), tmp_path) for kind in KINDS]
    for folder in folders:
        registered(folder, tmp_path / "site")
    pytest_options = [
        "-q",
        "-W",
        "error",
        "--import-mode=importlib",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
    ]
    command = [sys.executable, "-m", "pytest", *pytest_options, *map(str, folders)]
    said = run(*command, path=[tmp_path / "site", *folders], folder=tmp_path)
    count = sum(file.read_text().count("\ndef test_") for file in tmp_path.glob("*/tests/*.py"))
    assert f"{count} passed" in said
    assert "skipped" not in said


def test_what_is_written_is_tidy(tmp_path: Path) -> None:
    for kind in KINDS:
        folder = written(singular(kind), tmp_path)
        rules = ["--isolated", "--line-length", "110", "--no-cache"]
        run(
            sys.executable, "-m", "ruff", "check", "--select", "E,F,I,UP,B,D100,PT", *rules, ".", path=[], folder=folder
        )
        run(sys.executable, "-m", "ruff", "format", "--check", *rules, ".", path=[], folder=folder)


def test_a_new_reward_can_be_installed_and_is_found(tmp_path: Path) -> None:
    folder, site = written("reward", tmp_path), tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--no-deps", "--no-build-isolation", "--target", site, folder, path=[], folder=tmp_path)
    shown = run(sys.executable, "-m", "rlaif_core", "show", "reward:fresh_reward", path=[site], folder=tmp_path)
    assert shown.startswith("reward source 'fresh_reward' from rlaif-fresh-reward 0.1 (fresh_reward)")
    assert "limit    int    = 1000" in shown
