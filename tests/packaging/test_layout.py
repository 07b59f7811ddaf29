"""The rules of the tree that no linter knows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOTS = ("rlaif_core", "kernels", "plugins")
LINES = 300


def files(repository: Path, *folders: str, suffix: str = ".py") -> Iterator[Path]:
    for folder in folders:
        yield from (p for p in sorted((repository / folder).rglob(f"*{suffix}")) if "__pycache__" not in p.parts)


def test_no_file_is_longer_than_can_be_read_in_one_sitting(repository: Path) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in files(repository, *ROOTS)}
    assert not {str(path.relative_to(repository)): n for path, n in lengths.items() if n > LINES}


@pytest.mark.parametrize("folder", ["kernels", "plugins", "csrc", "tests", "benches"])
def test_a_source_root_is_not_a_package(repository: Path, folder: str) -> None:
    """A package called `kernels` would shadow the one that transformers looks for."""
    assert not (repository / folder / "__init__.py").exists()


def test_nothing_is_called_utils(repository: Path) -> None:
    names = [path.stem for path in files(repository, *ROOTS)]
    assert not [name for name in names if re.fullmatch(r"_?(utils?|helpers?|misc|common)", name)]


def test_the_core_knows_no_algorithm_by_name(repository: Path) -> None:
    """`use = "grpo"` is for configs and built-ins; the core would otherwise grow special cases."""
    known = {"grpo", "ppo", "dpo", "reinforce", "leave_one_out"}
    found = {
        f"{path.relative_to(repository)}:{node.lineno}"
        for path in files(repository, "rlaif_core")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in known
    }
    assert not found


def test_the_compiled_half_includes_no_torch(repository: Path) -> None:
    for suffix in (".cpp", ".hpp", ".cu"):
        for path in files(repository, "csrc", suffix=suffix):
            assert not re.search(r"#include\s*[<\"](torch|ATen|c10)/", path.read_text()), path
    flags = (repository / "csrc" / "CMakeLists.txt").read_text().partition("cmake_minimum_required")[2]
    assert "-march=native" not in flags
    assert "-ffast-math" not in flags
