"""The forward of linear_logprobs against the definition in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_kernels import chunked, reference, rows

kernels = pytest.importorskip("rlaif_kernels.triton.linear", reason="triton is not installed")

CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "scaled": {"temperature": 0.7, "scale": 1.3},
    "capped": {"softcap": 3.0, "temperature": torch.tensor([0.5, 0.0, 2.0, 1.0, 1.5, 0.8, 0.9])},
}
TARGETS = torch.tensor([3, -100, 0, 48, 90, -100, 17])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = kernels.Tiles(4, 16, 16, 4, 2)._replace(rows=16 if torch.cuda.is_available() else 4)
    for table in (kernels.POINTED, kernels.CAPPED, *kernels.DESCRIBED.values()):
        for size in table:
            monkeypatch.setitem(table, size, tiles)
    monkeypatch.setattr(kernels, "RAGGED", tiles)
    monkeypatch.setattr(kernels, "SEGMENT", 32)


def said(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, **options: Any) -> rows.Said:
    asked = rows.asked(
        targets, options.get("temperature", 1.0), options.get("softcap"), options.get("scale", 1.0), -100
    )
    return kernels.forward(hidden, weight, bias, asked, True)


def problem(depth: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    hidden, weight, bias = (torch.randn(*shape).to(dtype) for shape in ((7, depth), (91, depth), (91,)))
    hidden[TARGETS == -100] = math.nan
    return hidden.to(device), weight.to(device), bias.to(device), TARGETS.to(device)


@pytest.mark.parametrize("described", [False, True])
@pytest.mark.parametrize(("depth", "dtype"), [(32, torch.float32), (40, torch.bfloat16), (40, torch.float16)])
@pytest.mark.parametrize("case", CASES)
def test_values_are_the_definitions(
    case: str, depth: int, dtype: torch.dtype, described: bool, device: str, eps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "_described", lambda *_: kernels.DESCRIBED[9][2] if described else None)
    hidden, weight, bias, targets = problem(depth, dtype, device)
    options = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in CASES[case].items()}
    got = said(hidden, weight, bias, targets, **options)
    wanted = reference.linear_logprobs(
        hidden.double(), weight.double(), targets, bias=bias.double(), entropy=True, **options
    )
    for x, exact in zip(got[:2], wanted, strict=True):
        # Sums of `depth` products of about 1, and z of up to 64 that are subtracted.
        torch.testing.assert_close(x.double(), exact, rtol=8 * eps, atol=8 * math.sqrt(depth) * eps + 64 * eps)
    assert not got.logp[targets == -100].any()


def test_a_row_is_computed_alike_in_every_batch_and_every_time(device: str) -> None:
    hidden, weight, _, targets = problem(40, torch.bfloat16, device)
    many = said(hidden, weight, None, targets)
    assert all(map(torch.equal, many, said(hidden, weight, None, targets)))
    for row in (0, 3, 6):
        alone = said(hidden[row:], weight, None, targets[row:])
        assert all(torch.equal(one[0], each[row]) for one, each in zip(alone, many, strict=True))


def test_what_is_said_of_a_row_depends_neither_on_the_others_nor_on_a_gradient(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the reasons: the ratio of a fresh policy to the log-probs of its own sampling is then exactly 1."""
    monkeypatch.setattr(chunked, "STASH", 4 * 91 * 2)  # the logits of two rows
    hidden, weight, _, targets = problem(40, torch.float32, device)
    many = rk.linear_logprobs(hidden, weight, targets, entropy=True, impl="triton")
    for some in (slice(None), slice(2, 4)):
        leaf = hidden[some].clone().requires_grad_()
        said = rk.linear_logprobs(leaf, weight, targets[some], entropy=True, impl="triton")
        assert all(torch.equal(one, each[some]) for one, each in zip(said, many, strict=True))


def test_strides_and_targets_outside_the_vocabulary(device: str) -> None:
    hidden, weight, bias, targets = problem(40, torch.float32, device)
    wide = torch.randn(91, 48, device=device)
    wide[:, :40] = weight
    apart = said(hidden.t().contiguous().t(), wide[:, :40], bias.repeat_interleave(2)[::2], targets)
    assert torch.equal(apart.logp, said(hidden, weight, bias, targets).logp)
    beyond = targets.masked_fill(targets == 48, 91).masked_fill(targets == 17, -1)
    assert said(hidden, weight, bias, beyond).logp.isnan().nonzero().flatten().tolist() == [3, 6]


def test_descriptors_are_for_rows_that_lie_behind_each_other(device: str) -> None:
    rows = torch.zeros(4, 64, device=device)
    assert all(map(kernels._aligned, (rows, rows[:, :48], rows[2:3])))
    assert not any(map(kernels._aligned, (rows[:, 1:], rows.t(), rows[0].expand(4, 64)[:1])))


def test_gradients_are_those_of_the_definition(device: str) -> None:
    hidden, weight, bias, targets = problem(32, torch.float32, device)
    found = []
    for dtype, impl in ((torch.float32, "triton"), (torch.float64, "torch")):
        leaves = [x.to(dtype).clone().requires_grad_() for x in (hidden, weight, bias)]
        logp, entropy = rk.linear_logprobs(*leaves[:2], targets, bias=leaves[2], entropy=True, impl=impl)
        found.append([logp, entropy, *torch.autograd.grad((logp * 2).sum() + entropy.square().sum(), leaves)])
    for one, exact in zip(*found, strict=True):
        torch.testing.assert_close(one.double(), exact, rtol=1e-4, atol=1e-4)


def test_the_policy_loss_is_that_of_the_definition(device: str) -> None:
    hidden, weight, _, targets = problem(32, torch.float32, device)
    mask = (targets != -100)[None]
    tokens = [torch.linspace(-4, -3, len(targets), device=device)[None], torch.ones_like(mask, dtype=torch.float32)]
    found = []
    for dtype, impl in ((torch.float32, "triton"), (torch.float64, "torch")):
        leaves = [x.to(dtype).clone().requires_grad_() for x in (hidden[None], weight)]
        said = rk.linear_policy_loss(*leaves, targets[None], *[x.to(dtype) for x in tokens], mask, impl=impl)
        found.append([said.loss, said.metrics, said.logp, *torch.autograd.grad(said.loss, leaves)])
    for one, exact in zip(*found, strict=True):
        torch.testing.assert_close(one.double(), exact, rtol=1e-4, atol=1e-4)
