"""Two processes with half a vocabulary each say what one with all of it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import interpreter

PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import distributed

import rlaif_kernels as rk

rank, impl = int(sys.argv[1]), sys.argv[3]
distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
torch.manual_seed(0)
targets = torch.tensor([[3, -100, 20], [49, 21, 31]])
first, stop = ((0, 21), (21, 50))[rank]
warm = torch.rand(2, 3) + 0.5


# With one process that has it all, in float64; both of what is said, and one alone.
def compare(logits, tolerance=1e-6, dtype=torch.float32, **options):
    weights = 4 * torch.randn(2, 2, 3)
    own = logits[..., first:stop].to(dtype).requires_grad_()
    logits = logits.to(dtype).double().requires_grad_()
    got = rk.sharded_logprobs(own, targets, first=first, impl=impl, entropy=True, **options)
    alone = rk.sharded_logprobs(own, targets, first=first, impl=impl, **options)
    wanted = rk.token_logprobs(logits, targets, impl="torch", entropy=True, **options)
    asked = targets != -100
    for one in (got, wanted):
        (torch.stack([each.where(asked, 0.0) for each in one]) * weights).sum().backward()
    assert torch.equal(alone, got[0])
    assert got[0].dtype == torch.float32 and own.grad.dtype == dtype
    for x, exact in zip(got, wanted):
        torch.testing.assert_close(x.detach().double(), exact.detach(), rtol=tolerance, atol=tolerance)
    rough = tolerance + (0 if dtype == torch.float32 else 2**-7)  # Triton's interpreter cuts bfloat16 off
    torch.testing.assert_close(own.grad.double(), logits.grad[..., first:stop], rtol=rough, atol=tolerance)


logits = torch.randn(2, 3, 50, dtype=torch.float64)
compare(logits, temperature=0.7, softcap=4.0)
compare(logits, temperature=warm.masked_fill(targets == -100, torch.nan), scale=-1.3)
compare(logits, 2e-6, torch.bfloat16, softcap=4.0)
logits[0, 1] = torch.nan  # which is not asked
logits[0, 0, 21:] = logits[1, 1, :21] = -torch.inf  # nothing of a row in one of the processes
logits[0, 2, 5] = -torch.inf
compare(logits)
forbidden = torch.randn(2, 3, 50, dtype=torch.float64)
forbidden[1, 0, :21] = torch.finfo(torch.float32).min  # a whole shard, and slopes above 1
compare(forbidden, temperature=0.7, softcap=4.0)
compare(forbidden)
compare(torch.cat([logits[..., :21] + 300, logits[..., 21:] - 300], -1), 1e-4)
# As one graph, and in several threads at once, each with a group of its own.
own = logits[..., first:stop].float().nan_to_num(0.0, neginf=-9.0)
said, options = rk.sharded_logprobs, {"first": first, "entropy": True, "temperature": warm}


def both_ways(run, **more):
    leaf = own.clone().requires_grad_()
    found = run(leaf, targets, **options, **more)
    return [*found, *torch.autograd.grad((found[0] * 2 + found[1]).sum(), leaf)]


if impl == "torch":
    for one, other in zip(both_ways(torch.compile(said, backend="aot_eager", fullgraph=True)), both_ways(said)):
        torch.testing.assert_close(one, other)
leaf = own.clone().requires_grad_()
said(leaf, targets, first=first, impl=impl).mul_(2).sum().backward()  # whoever gets log-probs may change them
alone, groups = both_ways(said, impl=impl), [distributed.new_group([0, 1]) for _ in range(8)]
with ThreadPoolExecutor(1 if impl == "triton" else 4) as pool:  # whose interpreter can do one thing at a time
    for together in pool.map(lambda group: both_ways(said, impl=impl, group=group), groups):
        assert all(map(torch.equal, together, alone))
for astray in (50, -1):
    beyond = rk.sharded_logprobs(own, torch.full((2, 3), astray), first=first, impl=impl)
    assert beyond.isnan().all()
distributed.destroy_process_group()
del groups  # while there is an interpreter that their threads can let go of tensors in
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
