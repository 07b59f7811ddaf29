"""What the Triton backend refuses, and that nobody gets its interpreter without asking."""

from __future__ import annotations

import pytest
import torch

import rlaif_kernels as rk
from rlaif_kernels import dispatch
from rlaif_kernels import triton as backend

MASK = torch.ones(1, 3, dtype=torch.bool)


def test_auto_never_chooses_the_interpreter(device: str) -> None:
    x = torch.zeros(1, 3, device=device)
    chosen = dispatch.choose("vtrace", "auto", (x,)).__module__
    first = not backend.interpreted and dispatch.absent("cuda") is not None
    assert chosen.startswith("rlaif_kernels.triton") == first
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
