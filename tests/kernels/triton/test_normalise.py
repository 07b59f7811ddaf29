"""Whitening against the definition in float64."""

from __future__ import annotations

import math

import pytest
import torch

import rlaif_kernels as rk
from rlaif_kernels import reference

kernels = pytest.importorskip("rlaif_kernels.triton.normalise", reason="triton is not installed")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "TILE", 32)
    monkeypatch.setattr(kernels, "TILES", 4)


@pytest.mark.parametrize(
    ("dtype", "mean"),
    [(torch.float32, 0.0), (torch.float32, 1e6), (torch.bfloat16, 3.0), (torch.float64, 1e6)],
)
def test_values_are_the_definitions(dtype: torch.dtype, mean: float, device: str, eps: float) -> None:
    """A mean that a sum in float32 would lose included."""
    x = (torch.randn(3, 101, dtype=torch.float64) + mean).to(device, dtype)
    mask = torch.rand(3, 101, device=device) < 0.6
    x = x.masked_fill(~mask, math.nan)
    got = rk.masked_whiten(x, mask, eps=0.1, impl="triton")
    tolerance = 1e-9 if dtype == torch.float64 else 8 * eps
    torch.testing.assert_close(got.double(), reference.masked_whiten(x.double(), mask, eps=0.1), rtol=0, atol=tolerance)
    assert got.dtype == (dtype if dtype == torch.float64 else torch.float32)
    assert torch.equal(got, rk.masked_whiten(x, mask, eps=0.1, impl="triton"))


def test_nothing_one_and_equal_entries_whiten_to_zero(device: str) -> None:
    for mask in (torch.zeros(40), torch.eye(40)[7], torch.ones(40)):
        x = torch.full((40,), 0.1, device=device)
        assert rk.masked_whiten(x, mask.bool().to(device), impl="triton").abs().max() < 1e-4
    assert (
        rk.masked_whiten(torch.ones(0, device=device), torch.ones(0, device=device).bool(), impl="triton").numel() == 0
    )


def test_gradients_of_both_orders(device: str) -> None:
    x = torch.randn(9, dtype=torch.float64, device=device, requires_grad=True)
    mask = torch.arange(9, device=device) % 3 > 0

    def run(x: torch.Tensor) -> torch.Tensor:
        return rk.masked_whiten(x, mask, impl="triton")

    assert torch.autograd.gradcheck(run, (x,))
    assert torch.autograd.gradgradcheck(run, (x,))


def test_a_large_mean_costs_the_gradient_no_digits(device: str, eps: float) -> None:
    x, weights = torch.randn(200, device=device) + 1e4, torch.randn(200, device=device)
    mask = torch.arange(200, device=device) % 3 > 0
    ours, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    (rk.masked_whiten(ours, mask, impl="triton") * weights).sum().backward()
    (reference.masked_whiten(exact, mask) * weights).sum().backward()
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=0, atol=16 * eps)
