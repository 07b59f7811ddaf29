"""Wheels built once for all packaging tests, and bare environments to install them into.

What is tested is what a stranger gets: an environment that sees the dependencies of this one, without its editable
install, and rlaif-core from a wheel.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

ABSENT_COMPILER = "/nonexistent/compiler"


def run(command: list[str | Path], *, env: Mapping[str, str] | None = None, ok: bool = True) -> str:
    """Run to the end and return what was said; with `ok`, a failure fails the test and shows it."""
    done = subprocess.run(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300
    )
    assert not ok or done.returncode == 0, done.stdout
    assert ok or done.returncode != 0, f"should have failed:\n{done.stdout}"
    return done.stdout


def environment(**changes: str | None) -> dict[str, str]:
    """This process's environment without what would lean on the build; None removes a variable."""
    env = {k: v for k, v in os.environ.items() if k not in {"RLAIF_REQUIRE", "PYTHONPATH", "RLAIF_PLUGINS"}}
    env |= {k: v for k, v in changes.items() if v is not None}
    return {k: v for k, v in env.items() if changes.get(k, v) is not None}


def without_compiler(folder: Path) -> dict[str, str]:
    """An environment whose PATH holds the build tools and no compiler, for whoever would look for one."""
    folder.mkdir()
    for tool in ("cmake", "ninja", "make"):
        found = shutil.which(tool)
        if found:
            (folder / tool).symlink_to(found)
    return environment(PATH=str(folder), CC=ABSENT_COMPILER, CXX=ABSENT_COMPILER)


def build(source: Path, into: Path, env: Mapping[str, str], *, ok: bool = True) -> str:
    """Build a wheel of `source` into a folder; without a network wherever cmake is already there."""
    isolation = ["--no-build-isolation"] if shutil.which("cmake") else []
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--disable-pip-version-check", "--verbose"]
    return run([*pip, *isolation, "--wheel-dir", into, source], env=env, ok=ok)


@dataclass(frozen=True)
class Built:
    """A folder for a wheel and what the build said."""

    folder: Path
    said: str

    @property
    def wheel(self) -> Path:
        (wheel,) = self.folder.glob("*.whl")
        return wheel


Once = Callable[[str, Callable[[Path], str]], Built]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """once(name, make): `make` fills a folder and returns what it said, in one test process for all of them."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def run_once(name: str, make: Callable[[Path], str]) -> Built:
        folder, said = root / name, root / f"{name}.log"
        with FileLock(root / f"{name}.lock"):
            if not said.exists():
                folder.mkdir(exist_ok=True)
                said.write_text(make(folder))
        return Built(folder, said.read_text())

    return run_once


@pytest.fixture(scope="session")
def core_wheel(repository: Path, once: Once) -> Built:
    """rlaif-core as it is built where there is a compiler, with the CUDA kernels where there is nvcc."""
    required = "native,cuda" if shutil.which("nvcc") else "native"

    def make(folder: Path) -> str:
        """As where there is no torch, for a wheel that was built against one would serve no other."""
        absent = folder / "absent"
        absent.mkdir()
        (absent / "torch.py").write_text("raise ImportError('torch is needed to run, not to build')")
        return build(repository, folder, environment(RLAIF_REQUIRE=required, PYTHONPATH=str(absent)))

    return once("core-wheel", make)


@pytest.fixture(scope="session")
def pure_wheel(repository: Path, once: Once) -> Built:
    """rlaif-core as it is built where there is no compiler."""
    return once("pure-wheel", lambda folder: build(repository, folder, without_compiler(folder / "bin")))


@pytest.fixture(scope="session")
def failed_build(repository: Path, once: Once) -> Built:
    """What comes of it where there is no compiler and RLAIF_REQUIRE asks for one."""

    def make(folder: Path) -> str:
        env = without_compiler(folder / "bin") | {"RLAIF_REQUIRE": "native"}
        return build(repository, folder, env, ok=False)

    return once("no-wheel", make)


@pytest.fixture(scope="session")
def failed_cuda_build(repository: Path, once: Once) -> Built:
    """What comes of it where there is no nvcc and RLAIF_REQUIRE asks for one."""
    env = environment(RLAIF_REQUIRE="cuda", CUDACXX=ABSENT_COMPILER)
    return once("no-cuda-wheel", lambda folder: build(repository, folder, env, ok=False))


@pytest.fixture(scope="session")
def brevity_wheel(repository: Path, once: Once) -> Built:
    """The nine-line plugin; from a copy, because setuptools builds inside the source folder."""

    def make(folder: Path) -> str:
        source = shutil.copytree(repository / "plugins" / "rlaif-brevity", folder / "source")
        return build(source, folder, environment())

    return once("brevity-wheel", make)


@dataclass(frozen=True)
class Installation:
    """A virtual environment of its own."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def run(self, *command: str | Path, ok: bool = True, **env: str | None) -> str:
        """Run one of its scripts."""
        script, *arguments = command
        return run([self.folder / "bin" / script, *arguments], env=environment(**env), ok=ok)


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Installation]:
    """Make a fresh environment with these wheels in it; their dependencies are those of the environment under test."""

    def make(*wheels: Path) -> Installation:
        folder = tmp_path_factory.mktemp("environment")
        run([sys.executable, "-m", "venv", "--without-pip", folder])
        installation = Installation(folder)
        # A path file makes the dependencies importable and, unlike a site folder, runs no path files of theirs: the
        # editable rlaif-core of this environment stays out of the way.
        packages = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})["purelib"]
        Path(packages, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        pip = [sys.executable, "-m", "pip", "--python", installation.python, "--disable-pip-version-check"]
        run([*pip, "install", "--quiet", "--no-deps", "--no-index", *wheels], env=environment())
        return installation

    return make


@pytest.fixture(scope="session")
def installed(core_wheel: Built, brevity_wheel: Built, install: Callable[..., Installation]) -> Installation:
    """rlaif-core and the nine-line plugin, side by side."""
    return install(core_wheel.wheel, brevity_wheel.wheel)
