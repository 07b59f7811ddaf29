"""The C++ kernels in a child of a process that has used them, and in several Python threads at once."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import rlaif_kernels as rk

pytestmark = pytest.mark.native

# Many operations of torch itself would wait for ever in such a child, for OpenMP's threads do not come along: those
# of more than 32,768 numbers, which none of these needs. Linear layers do, for their products are torch's.
PROGRAM = """
import os, signal, torch
import rlaif_kernels as rk

torch.set_num_threads(2)
rewards, values, logits = torch.randn(64, 4000), torch.randn(64, 4000), torch.randn(64, 20000, requires_grad=True)
mask, targets = torch.ones(64, 4000, dtype=torch.bool), torch.arange(64)
logp, weight = rewards.clone().requires_grad_(), torch.randn(120, 256, requires_grad=True)
ids = torch.stack([torch.randperm(120)[:64] for _ in range(64)])

def said():
    token, entropy = rk.token_logprobs(logits, targets, entropy=True, impl="native")
    kept = rk.kept_logprobs(weight[:64].detach(), weight, ids[:, 0], ids, impl="native")
    loss = rk.policy_loss(logp, values, rewards, mask, impl="native")
    slopes = [torch.autograd.grad(one.sum(), x)[0] for one, x in ((token, logits), (kept, weight), (loss.loss, logp))]
    found = [*rk.gae(rewards, values, mask), *rk.vtrace(values, rewards, values, mask, impl="native"), token, entropy,
             kept, *loss, rk.masked_whiten(values, mask, impl="native"), *slopes]
    return [each.detach().numpy().tobytes() for each in found]

before = said()
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(0 if said() == before else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_computes_the_same_alone() -> None:
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout.strip() == "0", told.stderr


def test_threads_at_once_do_not_disturb_each_other() -> None:
    logits, targets = torch.randn(16, 40_000), torch.arange(16)
    rewards, mask = torch.randn(64, 500), torch.rand(64, 500) < 0.9

    def said(_: int) -> list[torch.Tensor]:
        leaf = logits.clone().requires_grad_()
        logp, entropy = rk.token_logprobs(leaf, targets, entropy=True)
        (slope,) = torch.autograd.grad(logp.sum() + entropy.sum(), leaf)
        return [logp.detach(), entropy.detach(), slope, *rk.gae(rewards, rewards, mask)]

    alone = said(0)
    with ThreadPoolExecutor(4) as pool:
        for together in pool.map(said, range(12)):
            assert all(map(torch.equal, together, alone))
