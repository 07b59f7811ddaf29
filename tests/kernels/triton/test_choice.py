"""When the Triton backend is there, what it refuses, and that nobody gets its interpreter without asking."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import rlaif_kernels as rk
from rlaif_kernels import dispatch
from rlaif_kernels import triton as backend

MASK = torch.ones(1, 3, dtype=torch.bool)
PROGRAM = """
import sys
import rlaif_kernels as rk
print(rk.implementations("gae")[0] == "triton", rk.build_info()["triton"], "triton" in sys.modules, sep="|")
"""


@pytest.mark.parametrize("interpreted", ["0", "1"])
def test_it_is_there_with_a_gpu_or_the_interpreter_and_imports_nothing_before(interpreted: str) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    environment = os.environ | {"TRITON_INTERPRET": interpreted, "CUDA_VISIBLE_DEVICES": ""}
    told = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True, text=True)
    there, info, imported = told.stdout.strip().split("|")
    if interpreted == "1":
        assert there == "True"
        assert info.startswith("triton 3.")
        assert info.endswith("the interpreter")
    else:
        assert (there, imported) == ("False", "False")
        assert info == "absent: there is no GPU, nor is TRITON_INTERPRET=1 set"


def test_auto_never_chooses_the_interpreter(device: str) -> None:
    x = torch.zeros(1, 3, device=device)
    chosen = dispatch.choose("vtrace", "auto", (x,)).__module__
    assert chosen.startswith("rlaif_kernels.triton") == (not backend.interpreted)
    assert dispatch.choose("vtrace", "triton", (x,)).__module__ == "rlaif_kernels.triton.scans"


def test_tensors_on_other_devices_and_subclasses_are_refused(device: str) -> None:
    x = torch.zeros(2, device=device)
    assert backend.refuses([x, None, torch.nn.Parameter(x)]) is None
    assert "got a tensor on meta" in (backend.refuses([x, x.to("meta")]) or "")
    assert "plain tensors" in (backend.refuses([x.as_subclass(type("Odd", (torch.Tensor,), {}))]) or "")
    assert "dense" in (backend.refuses([x.to_sparse()]) or "")
    with pytest.raises(rk.ImplementationError, match=r"torch\.func"):
        torch.vmap(lambda row: rk.masked_whiten(row, MASK[0], impl="triton"))(torch.zeros(2, 3))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_tensors_for_a_forward_gradient_are_refused(device: str) -> None:
    with torch.autograd.forward_ad.dual_level():
        x = torch.autograd.forward_ad.make_dual(torch.zeros(2, device=device), torch.ones(2, device=device))
        assert "forward-mode" in (backend.refuses([x]) or "")
