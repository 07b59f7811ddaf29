"""The tests of this folder in a process that interprets the kernels: triton reads the variable when it is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import interpreter
from rlaif_kernels import triton as backend

pytest.importorskip("triton", reason="triton is not installed")
HERE = Path(__file__)
PROGRAM = """
import sys
import rlaif_kernels as rk
print(rk.implementations("gae")[0] == "triton", rk.build_info()["triton"], "triton" in sys.modules, sep="|")
"""


@pytest.mark.slow
@pytest.mark.skipif(backend.interpreted, reason="this is that process")
@pytest.mark.skipif(interpreter.hindrance() is not None, reason=str(interpreter.hindrance()))
def test_the_kernels_pass_their_tests_in_the_interpreter(repository: Path) -> None:
    command = [sys.executable, "-m", "pytest", HERE.parent, "-q", "-p", "no:cacheprovider", f"--ignore={HERE}"]
    told = subprocess.run(
        [*command, f"--ignore={HERE.with_name('test_compiled.py')}"],
        cwd=repository,
        env=interpreter.environment(),
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "skipped" not in told.stdout


@pytest.mark.parametrize("interpreted", ["0", "1"])
def test_it_is_there_with_a_gpu_or_the_interpreter_and_imports_nothing_before(interpreted: str) -> None:
    environment = interpreter.environment() | {"TRITON_INTERPRET": interpreted}
    told = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True)
    there, info, imported = told.stdout.strip().split("|")
    if interpreted == "1":
        assert there == "True"
        assert info.startswith("triton 3.")
        assert info.endswith("the interpreter")
    else:
        assert (there, imported) == ("False", "False")
        assert info == "absent: there is no GPU, nor is TRITON_INTERPRET=1 set"


@pytest.mark.parametrize("devices", [0, 1])
def test_a_gpu_is_looked_for_without_waking_its_driver(devices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or no process that is forked from this one could use it."""
    monkeypatch.setattr(backend, "interpreted", False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("the driver was woken"))
    assert (backend._lacking() is None) == (devices > 0)
