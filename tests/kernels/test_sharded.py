"""Two processes with half a vocabulary each say what one with all of it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import interpreter

PROGRAM = """
import sys

import torch
from torch import distributed

import rlaif_kernels as rk

rank, impl = int(sys.argv[1]), sys.argv[3]
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
torch.manual_seed(0)
logits = torch.randn(2, 3, 50, dtype=torch.float64)
targets = torch.tensor([[3, -100, 20], [49, 0, 31]])
weights = torch.randn(2, 2, 3) * 4
first, stop = ((0, 21), (21, 50))[rank]
logits[1, 0, :21] = torch.finfo(torch.float32).min  # a whole shard is forbidden
for options in ({"temperature": 0.7, "softcap": 4.0}, {}):
    own = logits[..., first:stop].float().requires_grad_()
    whole = logits.clone().requires_grad_()
    got = rk.sharded_logprobs(own, targets, first=first, entropy=True, impl=impl, **options)
    wanted = rk.token_logprobs(whole, targets, entropy=True, impl="torch", **options)
    for said in (got, wanted):
        (torch.stack(said) * weights).sum().backward()
    for x, exact in ((got[0], wanted[0]), (got[1], wanted[1]), (own.grad, whole.grad[..., first:stop])):
        torch.testing.assert_close(x.detach().double(), exact.detach(), rtol=1e-6, atol=1e-6)
if impl != "torch":
    beyond = rk.sharded_logprobs(own, torch.full((2, 3), 50), first=first, impl=impl)
    assert beyond.isnan().all()
distributed.destroy_process_group()
"""


@pytest.mark.parametrize(
    "backend",
    [
        "torch",
        pytest.param("native", marks=pytest.mark.native),
        pytest.param(
            "triton",
            marks=pytest.mark.skipif(interpreter.hindrance() is not None, reason=str(interpreter.hindrance())),
        ),
    ],
)
def test_two_processes_agree_with_one(backend: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), tmp_path / "met", backend],
            env=interpreter.environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        said = rank.communicate(timeout=120)[1]
        assert rank.returncode == 0, said
