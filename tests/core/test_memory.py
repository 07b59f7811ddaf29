"""Freed memory is kept for the next step, and given back after the run."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rlaif_core as rl
from rlaif_core import memory
from rlaif_core.testing import FakePolicy

glibc = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt")
needs_glibc = pytest.mark.skipif(not glibc, reason="the C library of this system is not glibc")

PROGRAM = """
import contextlib, json, resource, sys
from pathlib import Path
from rlaif_core.memory import reused

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def step():
    blocks = [b"x" * (20 << 20) for _ in range(8)]  # each smaller than glibc's largest

with reused() if sys.argv[1] == "reused" else contextlib.nullcontext():
    for _ in range(3):
        step()
    before = faults()
    for _ in range(5):
        step()
    again, inside = faults() - before, held()
print(json.dumps({"pages": again / 5 * resource.getpagesize() / 2**20, "kept": (inside - held()) / 2**20}))
"""


def measured(way: str, **environment: str) -> dict[str, float]:
    """MiB that a step had to be given by the kernel, and that were given back when the block ended."""
    clean = {name: value for name, value in os.environ.items() if name not in memory.OWN_CHOICE}
    command = [sys.executable, "-c", PROGRAM, way]
    said = subprocess.run(command, env={**clean, **environment}, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(said.stdout)
    return result


@needs_glibc
def test_a_step_takes_the_memory_of_the_one_before_and_the_end_gives_it_back() -> None:
    with_it, without = measured("reused"), measured("plain")
    assert with_it["pages"] < 8
    assert with_it["kept"] > 100
    assert without["pages"] > 100  # what it is for
    assert without["kept"] < 8


@needs_glibc
@pytest.mark.parametrize("name", memory.OWN_CHOICE)
def test_what_the_environment_says_stands(name: str) -> None:
    value = "glibc.malloc.trim_threshold=0" if name == "GLIBC_TUNABLES" else "131072"
    assert measured("reused", **{name: value})["pages"] > 100


@pytest.mark.parametrize("platform", ["darwin", "win32", "musl"])
def test_other_c_libraries_are_left_alone(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux" if platform == "musl" else platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    for name in memory.OWN_CHOICE:
        monkeypatch.delenv(name, raising=False)
    with memory.reused():
        pass


def test_a_run_keeps_its_memory_till_the_last_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[str] = []

    class Library:
        def mallopt(self, what: int, size: int) -> int:
            told.append(f"{'trim' if what == memory.TRIM else 'map'} {size >> 20}")
            return 1

        def malloc_trim(self, left: ctypes.c_size_t) -> int:
            told.append(f"down to {left.value}")
            return 1

    def spy(prompt: rl.Prompt, completion: str) -> float:
        told.append("step")
        return float(len(completion))

    for name in memory.OWN_CHOICE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: Library())
    tables = {
        "run": {"steps": 2, "out": str(tmp_path / "run"), "tensorboard": False},
        "prompts": {"batch": 1, "group": 2},
        "actions": [{"use": "sample", "max_tokens": 3}],
        "credit": {"use": "leave_one_out"},
        "optimiser": {"use": "reinforce", "lr": 0.1},
    }
    rows = [{"prompt": "is it red"}]
    rl.run(rl.RunConfig.of(tables), policy=FakePolicy(), prompts=rows, rewards={"spy": rl.reward(spy)}, progress=False)
    assert told == ["map 32", "trim 1024", "step", "step", "step", "step", "trim 64", "down to 0"]
