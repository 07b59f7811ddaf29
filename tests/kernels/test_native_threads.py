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
BEFORE = """
import hashlib, os, signal, sys, tempfile, torch
import rlaif_kernels as rk
from rlaif_kernels import native
from torch import distributed

torch.set_num_threads(2)
torch.randn(4_000_000).exp()

def digest(found):
    return hashlib.sha256(b"".join(each.detach().numpy().tobytes() for each in found)).digest()
"""
KERNELS = """
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
    return digest([out, *scans, token, entropy, kept, *loss, rk.masked_whiten(values, mask, impl="native"), *slopes])
"""
SHARDS = """
logits, targets = torch.randn(64, 3000, requires_grad=True), torch.arange(64)

def said():
    with tempfile.TemporaryDirectory() as folder:
        distributed.init_process_group("gloo", init_method=f"file://{folder}/met", rank=0, world_size=1)
        logp, entropy = rk.sharded_logprobs(logits, targets, first=0, entropy=True, impl="native")
        slopes = torch.autograd.grad(logp.sum() + entropy.sum(), logits)
        distributed.destroy_process_group()
    return digest([logp, entropy, *slopes])
"""
PRODUCTS = """
hidden, weight = torch.randn(1, 64, 128, requires_grad=True), torch.randn(3000, 128, requires_grad=True)
targets, tokens, mask = torch.arange(64)[None], torch.randn(1, 64), torch.rand(1, 64) < 0.9
query, key = torch.randn(1, 4, 64, 16), torch.randn(1, 4, 64, 16)

def said():
    torch.set_num_threads(1)  # without which torch's products wait for ever; and the last bits are those of one
    logp = rk.linear_logprobs(hidden, weight, targets, impl="native")
    loss = rk.linear_policy_loss(hidden, weight, targets, tokens - 8, tokens, mask, impl="native").loss
    slopes = [one for said in (logp.sum(), loss) for one in torch.autograd.grad(said, (hidden, weight))]
    return digest([logp, loss, rk.attention_column(query, key, impl="native"), *slopes])
"""
AFTER = """
if sys.argv[1] == "the kernels":
    said()
torch.set_num_threads(2)
torch.randn(4_000_000).exp()
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
@pytest.mark.parametrize("program", [KERNELS, SHARDS, PRODUCTS], ids=["kernels", "shards", "products"])
def test_a_child_computes_the_same_alone(program: str, used: str) -> None:
    """Whoever used threads before: also where a decoder is older than the process."""
    command = [sys.executable, "-W", "ignore", "-c", BEFORE + program + AFTER, used]
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
