"""The C++ kernels in a child of a process that has used them, and in several Python threads at once."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import rlaif_kernels as rk
from rlaif_kernels import native

pytestmark = pytest.mark.native

# Many operations of torch itself would wait for ever in such a child, for OpenMP's threads do not come along: those
# of more than 32,768 numbers, which none of these needs. Linear layers do, for their products are torch's.
PROGRAM = """
import hashlib, os, signal, sys, torch
import rlaif_kernels as rk
from rlaif_kernels import native

torch.set_num_threads(2)
torch.randn(4_000_000).exp()
rewards, values, logits = torch.randn(64, 4000), torch.randn(64, 4000), torch.randn(64, 20000, requires_grad=True)
mask, targets = torch.ones(64, 4000, dtype=torch.bool), torch.arange(64)
logp, weight = rewards.clone().requires_grad_(), torch.randn(120, 256, requires_grad=True)
ids = torch.stack([torch.randperm(120)[:64] for _ in range(64)])
x, head, out = torch.randn(1, 16), torch.randn(64, 16), torch.empty(1, 64)
sizes = dict(rows=1, hidden=16, heads=1, groups=1, width=16, rotary=0, inner=16, vocabulary=64, room=16, layers=0)
decoder = native.binary.Decoder(**sizes, epsilon=1e-5, scaling=1.0, threads=2)
decoder.set_head(last=head.data_ptr(), head=[(head.data_ptr(), 0, 64)])

def said():
    decoder.step(x=x.data_ptr(), cosines=0, sines=0, logits=out.data_ptr())
    token, entropy = rk.token_logprobs(logits, targets, entropy=True, impl="native")
    kept = rk.kept_logprobs(weight[:64].detach(), weight, ids[:, 0], ids, impl="native")
    loss = rk.policy_loss(logp, values, rewards, mask, impl="native")
    slopes = [torch.autograd.grad(one.sum(), x)[0] for one, x in ((token, logits), (kept, weight), (loss.loss, logp))]
    scans = [*rk.gae(rewards, values, mask), *rk.vtrace(values, rewards, values, mask, impl="native")]
    found = [out, *scans, token, entropy, kept, *loss, rk.masked_whiten(values, mask, impl="native"), *slopes]
    return hashlib.sha256(b"".join(each.detach().numpy().tobytes() for each in found)).digest()

if sys.argv[1] == "the kernels":
    said()
end, begin = os.pipe()
child = os.fork()
if child == 0:
    signal.alarm(30)
    os.write(begin, said())
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert os.read(end, 32) == said()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("used", ["the kernels", "torch alone"])
def test_a_child_computes_the_same_alone(used: str) -> None:
    """Whoever used threads before: also where a decoder is older than the process."""
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, used]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("failing", [0, 1])
def test_what_a_thread_throws_reaches_the_caller(failing: int) -> None:
    if native.build_info()["threads"] != "torch's threads":
        pytest.skip("there is one thread")
    with pytest.raises(RuntimeError, match=f"member {failing} was asked to fail"):
        native.binary.members(2, failing=failing)
    assert native.binary.members(2) == 2


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
