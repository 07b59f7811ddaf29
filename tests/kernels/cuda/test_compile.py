"""What nvcc makes of the kernels, for each architecture of a release: nothing spills, and many blocks fit."""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ARCHITECTURES = ("80", "90", "100")
NVCC = shutil.which("nvcc")
MOVES = ("ld.global.ca.v4.u32", "st.global.cg.v4.u32")
# A processor has 65,536 registers, a block 256 threads: with 64 registers each, four blocks fit, with 128 two.
ROWS, OTHERS = 64, 128
NAMES = (
    *("fold_columns", "merge_parts", "finish_rows", "descend_columns", "scan_rows", "link_tiles"),
    *("sample_products", "sum_rows"),
    *("moments_of_tiles", "merge_moments", "whiten_tiles", "loss_of_rows", "loss_of_all"),
)
FOUND = re.compile(
    r"Compiling entry function '(\w+)' for 'sm_(\w+)'.*?"
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers",
    re.DOTALL,
)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(NVCC is None, reason="no nvcc")]


def nvcc(source: Path, *options: str) -> str:
    strict = ("-std=c++17", "-O3", "--Werror=all-warnings", "-Xcompiler=-Wall,-Wextra")
    done = subprocess.run([str(NVCC), *strict, *options, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_nothing_spills_and_registers_leave_room_for_many_blocks(repository: Path, tmp_path: Path) -> None:
    generated = [f"-gencode=arch=compute_{name},code=sm_{name}" for name in ARCHITECTURES]

    def compiled(source: Path) -> str:
        return nvcc(source, *generated, "-Xptxas=-v", "-c", "-o", str(tmp_path / f"{source.stem}.o"))

    sources = sorted((repository / "csrc" / "cuda").glob("*.cu"))
    with ThreadPoolExecutor(2) as pool:
        found = FOUND.findall("\n".join(pool.map(compiled, sources)))
    assert {architecture for _, architecture, *_ in found} == set(ARCHITECTURES)
    for name in NAMES:
        kernels = [kernel for kernel in found if name in kernel[0]]
        assert len(kernels) % len(ARCHITECTURES) == 0
        assert kernels, name
        limit = ROWS if name.endswith(("_columns", "_products", "sum_rows")) else OTHERS
        for kernel, architecture, *numbers, registers in kernels:
            assert numbers == ["0", "0", "0"], f"{kernel} for sm_{architecture}: stack and spills {numbers}"
            assert int(registers) <= limit, f"{kernel} for sm_{architecture}: {registers} registers"


def test_rows_are_read_and_written_sixteen_bytes_at_a_time(repository: Path, tmp_path: Path) -> None:
    for source, moves in (("rows_fold", MOVES[:1]), ("rows_descend", MOVES)):
        file = tmp_path / f"{source}.ptx"
        nvcc(repository / "csrc" / "cuda" / f"{source}.cu", "-arch=compute_90", "-ptx", "-o", str(file))
        entries = [text for text in file.read_text().split(".entry")[1:] if "_columns" in text.partition("(")[0]]
        assert len(entries) == 6  # three kinds of numbers, with a cap and without
        assert all(move in text for text in entries for move in moves)
