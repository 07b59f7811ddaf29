"""The CUDA kernels without a device: their very sources, compiled for the CPU with `emulator.hpp`."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sysconfig import get_paths
from typing import Any

import pybind11
import pytest
from filelock import FileLock

HERE = Path(__file__).parent
FLAGS = ["-O1", "-std=c++17", "-fPIC", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Wno-attributes"]
FLAGS += ['-DRLAIF_NVCC="emulated"', '-DRLAIF_ARCHITECTURES="none"', '-DRLAIF_COMPILER="emulated"']


class Emulator:
    """The compiled module with its emulator, and what that has seen."""

    stream = 0x5EED

    def __init__(self, path: Path) -> None:
        spec = importlib.util.spec_from_file_location("_native_cuda", path)
        assert spec is not None
        assert spec.loader is not None
        self.binary = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.binary)
        self.library: Any = ctypes.CDLL(str(path))
        self.library.emulator_stream_of.restype = ctypes.c_size_t
        for name in ("widen", "narrow"):
            getattr(self, name).argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_bool)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.library, f"emulator_{name}")


def build(folder: Path, sources: Path) -> Path:
    """The emulated module, compiled anew if any source changed, by one test process for all of them."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler to emulate CUDA with")
    files = sorted([*sources.iterdir(), *HERE.glob("emulator.*")])
    options = [*FLAGS, *(f"-I{place}" for place in (HERE, sources, pybind11.get_include(), get_paths()["include"]))]
    said = [compiler, *options, pybind11.__version__, *(file.read_text() for file in files)]
    target = folder / f"{hashlib.sha256(repr(said).encode()).hexdigest()[:16]}.so"
    with FileLock(folder / "lock"):
        if not target.exists():
            for former in folder.glob("*.so"):
                former.unlink()
            compile_all([file for file in files if file.suffix in (".cpp", ".cu")], [compiler, *options], target)
    return target


def compile_all(files: list[Path], command: list[str], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as work:

        def compiled(file: Path) -> str:
            out = f"{work}/{file.name}.o"
            subprocess.run([*command, "-x", "c++", "-c", file, "-o", out], check=True)
            return out

        with ThreadPoolExecutor(2) as pool:
            objects = list(pool.map(compiled, files))
        subprocess.run([command[0], "-shared", *objects, "-o", f"{work}/module.so"], check=True)
        Path(work, "module.so").replace(target)


@pytest.fixture(scope="session")
def built(repository: Path, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    cache = getattr(pytestconfig, "cache", None)  # not there with -p no:cacheprovider
    folder = tmp_path_factory.mktemp("emulated") if cache is None else cache.mkdir("emulated")
    return Emulator(build(folder, repository / "csrc" / "cuda"))


@pytest.fixture
def emulator(built: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """Stands where the binary stands: impl="cuda" takes CPU tensors and runs the emulated kernels."""
    from rlaif_kernels import cuda

    monkeypatch.setattr(cuda, "binary", built.binary)
    monkeypatch.setattr(cuda, "missing", None)
    monkeypatch.setattr(cuda, "DEVICE", "cpu")
    monkeypatch.setattr(cuda, "queue", lambda tensor: (0, Emulator.stream))
    built.reset()
    yield built
    built.reset()
