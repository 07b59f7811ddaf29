"""Kernels compiled for a GPU that is not there: what the assembler says they need, and the instructions they are of."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

SHARED = {80: 163 << 10, 86: 99 << 10, 90: 227 << 10, 100: 227 << 10}
"""Compute capability -> bytes of shared memory that a program can have (CUDA C++ Programming Guide, table 30)."""


class Compiled(NamedTuple):
    ptx: str
    registers: int
    """A thread's."""
    spilled: int
    """Bytes a thread stores to and loads from local memory for want of registers."""
    shared: int
    """Bytes."""


def compiled(
    kernel: Any,
    capability: int,
    arguments: Mapping[str, Any],
    *,
    multiples: Collection[str] = (),
    warps: int = 4,
    stages: int = 3,
) -> Compiled:
    """`arguments`: the type of each ("*bf16", "i32", "fp32"); of upper-case ones, and of None, the value.

    Pointers are multiples of 16, and so are the integers named in `multiples`.
    """
    from triton import compile as build
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    fixed = {name: given for name, given in arguments.items() if name.isupper() or given is None}
    types = {name: "constexpr" if name in fixed else kind for name, kind in arguments.items()}
    order = {name: (i,) for i, name in enumerate(kernel.arg_names)}
    assert types.keys() == order.keys(), types.keys() ^ order.keys()
    facts = {
        order[name]: [["tt.divisibility", 16]]
        for name, kind in types.items()
        if kind.startswith("*") or name in multiples
    }
    source = ASTSource(
        kernel,
        {name: types[name] for name in order},
        {order[name]: value for name, value in fixed.items()},
        facts,
    )
    options = {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True}
    made = build(source, target=GPUTarget("cuda", capability, 32), options=options)
    return Compiled(made.asm["ptx"], *_resources(made.asm["ptx"], capability), made.metadata.shared)


def _resources(ptx: str, capability: int) -> tuple[int, int]:
    """(registers, spilled bytes) by the assembler that triton brings along."""
    from triton.backends.nvidia.compiler import get_ptxas

    target = re.search(r"\.target (sm_\w+)", ptx)
    assert target is not None
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        command = [get_ptxas(capability).path, "-v", f"--gpu-name={target[1]}", source, "-o", f"{source}.cubin"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    spilled = sum(map(int, re.findall(r"(\d+) bytes spill", said)))
    return int(re.findall(r"Used (\d+) registers", said)[0]), spilled
