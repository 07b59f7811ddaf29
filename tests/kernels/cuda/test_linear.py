"""Log-probs and policy losses of a linear layer with the row kernels in CUDA, on the emulator, and merged states."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_kernels import chunked, policy, reference
from rlaif_kernels.head import Head
from rlaif_kernels.rows import Rows

pytestmark = pytest.mark.usefixtures("emulator")

TARGETS = torch.tensor([3, -100, 0, 48, 90, -100, 17])


@pytest.fixture(params=[False, True], ids=["", "captured"])
def _captured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also as if a graph were captured, where rows that are not asked cannot be left out."""
    monkeypatch.setattr(chunked, "capturing", lambda _: request.param)


@pytest.mark.usefixtures("_captured")
@pytest.mark.parametrize("stash", [0, 2**26])
def test_linear_logprobs_are_the_definitions(stash: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked, "STASH", stash)
    monkeypatch.setitem(chunked.BLOCK, "cpu", 4096)
    hidden, weight, bias = torch.randn(7, 20), torch.randn(91, 20), torch.randn(91)
    hidden[TARGETS == -100] = math.nan
    found = []
    for dtype, impl in ((torch.float32, "cuda"), (torch.float64, "torch")):
        leaves = [x.to(dtype).clone().requires_grad_() for x in (hidden, weight, bias)]
        options = {"bias": leaves[2], "entropy": True, "softcap": 3.0, "temperature": 0.7}
        logp, entropy = rk.linear_logprobs(*leaves[:2], TARGETS, impl=impl, **options)
        found.append([logp, entropy, *torch.autograd.grad((logp * 2).sum() + entropy.square().sum(), leaves)])
    for one, exact in zip(*found, strict=True):
        torch.testing.assert_close(one.double(), exact, rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("_captured")
def test_linear_policy_losses_are_the_definitions() -> None:
    hidden, weight, mask = torch.randn(2, 7, 20), torch.randn(91, 20), TARGETS.expand(2, 7) != -100
    hidden[~mask] = math.nan
    numbers = [torch.randn(2, 7) - 3, torch.randn(2, 7)]
    for options in ({"entropy_weight": 0.1}, {"ratio": "sequence", "low": 0.01}):
        found = []
        for dtype, impl in ((torch.float32, "cuda"), (torch.float64, "torch")):
            leaves = [x.to(dtype).clone().requires_grad_() for x in (hidden, weight)]
            given = [x.to(dtype) for x in numbers]
            said = rk.linear_policy_loss(*leaves, TARGETS.expand(2, 7), *given, mask, impl=impl, **options)
            found.append([said.loss, said.metrics, said.logp, said.entropy, *torch.autograd.grad(said.loss, leaves)])
        for one, exact in zip(*found, strict=True):
            torch.testing.assert_close(one.double(), exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("room", "blocks"), [(4 * 91 * 7, 1), (4 * 91 * 3, 2), (1, 3)])
def test_a_device_may_have_room_for_more_rows(room: int, blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block of them reads and writes the gradient of the whole weight."""
    monkeypatch.setitem(chunked.BLOCK, "cpu", 4 * 91 * 2)
    monkeypatch.setattr(chunked, "FEW", 1)
    monkeypatch.setitem(policy.ROOM, "cpu", room)
    heights, logits = [], Head.logits

    def counted(head: Head, hidden: Tensor, columns: slice) -> Tensor:
        heights.append(len(hidden))
        return logits(head, hidden, columns)

    monkeypatch.setattr(Head, "logits", counted)
    mask = (TARGETS != -100)[None]
    tokens = torch.randn(1, 7) - 3, torch.randn(1, 7), mask
    rk.linear_policy_loss(torch.randn(1, 7, 20), torch.randn(91, 20), TARGETS[None], *tokens, impl="cuda")
    assert (len(heights), sum(heights)) == (blocks, int(mask.sum()))


def test_states_of_parts_are_merged_to_that_of_the_whole() -> None:
    from rlaif_kernels.cuda import logprobs

    logits = torch.randn(5, 60) * 4
    logits[0, :31] = logits[1, 31:] = -math.inf
    logits[3, :31] = -2e38
    targets = torch.tensor([40, 3, -100, 59, 0])
    rows = Rows(targets, -100, 0.8, 1.0, 0.0, None)
    left, right = logits.split(31, 1)
    parts = logprobs.fold(left.contiguous(), rows, 0, None), logprobs.fold(right.contiguous(), rows, 31, None)
    said = logprobs.finish(logprobs.merge(*parts, rows), rows, True)
    wanted = reference.token_logprobs(logits.double(), targets, temperature=0.8, entropy=True)
    for one, exact in zip(said[:2], wanted, strict=True):
        torch.testing.assert_close(one.double(), exact, rtol=1e-5, atol=1e-5)
