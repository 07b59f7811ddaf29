"""What is in the wheel, with a compiler and without one, and that nobody is left in the dark about which it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.slow

NVCC = shutil.which("nvcc")
OTHER = os.environ.get("RLAIF_OTHER_PYTHON", "")
"""An interpreter of this version of Python, with another torch, and pytest, pytest-timeout, hypothesis, numpy."""

PACKAGES = {
    "rlaif_core": "rlaif_core",
    "rlaif_kernels": "kernels/rlaif_kernels",
    **{
        f"rlaif_{name}": f"plugins/rlaif_{name}"
        for name in ("builtins", "fusion", "guards", "judges", "lumen", "report", "rewards")
    },
}


def sources(repository: Path) -> set[str]:
    """Every file of our packages, as it is named in a wheel."""
    return {
        f"{name}/{path.relative_to(repository / folder).as_posix()}"
        for name, folder in PACKAGES.items()
        for path in (repository / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    }


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def metadata(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (member,) = [n for n in archive.namelist() if n.endswith(f".dist-info/{name}")]
        return archive.read(member).decode()


def test_the_wheel_holds_the_packages_and_the_binaries(core_wheel: Any, repository: Path) -> None:
    extra = contents(core_wheel.wheel) - sources(repository)
    assert contents(core_wheel.wheel) >= sources(repository)
    wanted = ["rlaif_kernels/_native", *["rlaif_kernels/_native_cuda"] * bool(NVCC)]
    assert sorted(name.partition(".")[0] for name in extra) == wanted
    assert core_wheel.wheel.stat().st_size < 6_000_000


def test_the_binary_is_small_and_knows_nothing_of_torch(core_wheel: Any) -> None:
    with zipfile.ZipFile(core_wheel.wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.startswith("rlaif_kernels/_native.") and n.endswith(".so")]
        binary = archive.read(name)
    assert len(binary) < 1_000_000
    assert not [library for library in (b"libtorch", b"libc10", b"libpython") if library in binary]


@pytest.mark.skipif(sys.platform != "linux", reason="manylinux is what Linux has")
def test_the_wheel_links_only_with_what_every_linux_has(core_wheel: Any) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "auditwheel", "show", core_wheel.wheel], capture_output=True, text=True, check=True
    ).stdout
    assert 'platform tag: "manylinux_2_' in " ".join(said.split())


@pytest.mark.skipif(not OTHER, reason="RLAIF_OTHER_PYTHON names no interpreter with another torch")
@pytest.mark.timeout(1800)
def test_the_same_wheel_works_with_another_torch(core_wheel: Any, repository: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(core_wheel.wheel) as archive:
        archive.extractall(tmp_path, [name for name in archive.namelist() if name.startswith("rlaif_kernels/")])
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "RLAIF_REQUIRE": "native"}

    def other(*arguments: str) -> str:
        said = subprocess.run([OTHER, *arguments], cwd=repository, env=env, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout[-5000:] + said.stderr[-5000:]
        return said.stdout

    where = "import torch, rlaif_kernels as rk; print(torch.__version__, rk.__file__)"
    version, file = other("-c", where).split()
    assert version != str(torch.__version__)
    assert Path(file).is_relative_to(tmp_path)
    folder, rest = "tests/kernels", ("bench.py", "bench_pages.py", "llama.py")  # of which other tests are about
    left = [f"--ignore={folder}/{name}" for name in ("cuda", "triton", *(f"test_{name}" for name in rest))]
    assert " passed" in other("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *left, folder)


def test_torch_is_needed_to_run_and_not_to_build(core_wheel: Any, repository: Path) -> None:
    needed = Parser().parsestr(metadata(core_wheel.wheel, "METADATA")).get_all("Requires-Dist")
    (torch,) = [line for line in needed if line.startswith("torch")]
    assert "<" not in torch
    assert "==" not in torch
    requires = tomllib.loads((repository / "pyproject.toml").read_text())["build-system"]["requires"]
    assert not [line for line in requires if "torch" in line]


def test_the_entry_points_are_the_ones_strangers_use(core_wheel: Any) -> None:
    text = metadata(core_wheel.wheel, "entry_points.txt")
    assert "[console_scripts]\nrlaif = rlaif_core.cli:main" in text.replace("=", " = ").replace("  ", " ")
    assert {"rlaif_builtins.hooks", "rlaif_lumen.hooks"} <= set(text.split())


def test_the_types_are_shipped(core_wheel: Any) -> None:
    assert contents(core_wheel.wheel) >= {f"{name}/py.typed" for name in PACKAGES}


def test_without_a_compiler_the_wheel_is_pure_and_complete(pure_wheel: Any, repository: Path) -> None:
    assert pure_wheel.wheel.name.endswith("-py3-none-any.whl")
    assert contents(pure_wheel.wheel) == sources(repository)
    assert "native kernels could not be built" in pure_wheel.said


def test_the_pure_installation_works_and_says_what_it_lacks(pure_wheel: Any, install: Callable[..., Any]) -> None:
    pure = install(pure_wheel.wheel)
    program = (
        "import torch, rlaif_kernels as rk\n"
        "ones = torch.ones(1, 2)\n"
        "print(rk.gae(ones, ones, ones.bool())[1].tolist(), rk.implementations('gae'), rk.build_info()['native'])\n"
    )
    said = pure.run("python", "-c", program)
    assert said.startswith("[[2.0, 1.0]] ['torch'] absent: the compiled module is not part of this installation")
    assert "No module named 'rlaif_kernels._native'" in said
    doctor = pure.run("rlaif", "doctor")
    assert "absent: the compiled module is not part of this installation" in " ".join(doctor.split())
    refused = pure.run("python", "-c", program, ok=False, RLAIF_REQUIRE="native")
    assert "RLAIF_REQUIRE asks for 'native'" in refused


def test_a_required_binary_that_cannot_be_built_fails_the_build(failed_build: Any) -> None:
    assert "RLAIF_REQUIRE=native: the native kernels could not be built" in failed_build.said
    assert not list(failed_build.folder.glob("*.whl"))


@pytest.mark.skipif(NVCC is None, reason="no nvcc")
def test_the_cuda_binary_leans_on_no_library_of_cuda_and_imports_without_a_driver(
    core_wheel: Any, install: Callable[..., Any]
) -> None:
    with zipfile.ZipFile(core_wheel.wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.startswith("rlaif_kernels/_native_cuda.")]
        binary = archive.read(name)
    assert not [library for library in (b"libtorch", b"libc10", b"libpython", b"libcudart.so") if library in binary]
    program = "from rlaif_kernels import cuda; print(cuda.binary.build_info(), cuda.missing)"
    said = install(core_wheel.wheel).run("python", "-c", program, CUDA_VISIBLE_DEVICES="")
    assert "NVIDIA" in said
    assert "sees no CUDA device" in said


def test_required_cuda_kernels_that_cannot_be_built_fail_the_build(failed_cuda_build: Any) -> None:
    assert "RLAIF_REQUIRE=cuda: the CUDA kernels could not be built" in failed_cuda_build.said
    assert not list(failed_cuda_build.folder.glob("*.whl"))
