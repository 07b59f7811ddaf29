"""What must stay light: the import, the help and the list of plugins load nothing that takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"datasets", "pandas", "peft", "pyarrow", "scipy", "sklearn", "tensorboard", "torch", "transformers"}
PROGRAM = "import sys, json; {}; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"


def loaded(statement: str) -> set[str]:
    """The top-level modules of a fresh interpreter after a statement."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM.format(statement)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
    return set(json.loads(said.splitlines()[-1]))


def test_importing_the_core_loads_neither_torch_nor_the_tools_of_a_command_line() -> None:
    modules = loaded("import rlaif_core")
    assert not modules & (HEAVY | {"numpy", "pydantic", "rich", "typer"})
    assert "rlaif_core" in modules


@pytest.mark.parametrize("verb", ["--help", "plugins", "plugins --json", "run --help"])
def test_looking_around_loads_nothing_heavy(verb: str) -> None:
    modules = loaded(f"from rlaif_core.cli import main; assert main({verb.split()}) == 0")
    assert not modules & HEAVY
    assert "typer" in modules


def test_importing_the_kernels_loads_torch_and_no_core() -> None:
    modules = loaded("import rlaif_kernels")
    assert "torch" in modules
    assert not modules & {"rlaif_core", "rlaif_builtins", "pluggy", "transformers"}
