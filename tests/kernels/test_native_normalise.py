"""Whitening in C++ against the definition in float64."""

from __future__ import annotations

import math

import pytest
import torch

import rlaif_kernels as rk
from rlaif_kernels import native

pytestmark = pytest.mark.native


@pytest.fixture(params=native.binary.variants() if native.missing is None else ["none"], autouse=True)
def _variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with each of the instruction sets that this processor has."""
    from rlaif_kernels.native import normalise

    monkeypatch.setattr(normalise, "variant", request.param)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 21), (5, 16384), (0,), (2, 0)], ids=str)
@pytest.mark.parametrize("kept", [0.0, 0.3, 1.0])
def test_whitening_is_that_of_float64(shape: tuple[int, ...], kept: float) -> None:
    mask = torch.rand(shape) < kept
    x = (torch.randn(shape) * 3 + 2).masked_fill(~mask, math.nan)
    got, wanted = rk.masked_whiten(x, mask, impl="native"), rk.masked_whiten(x.double(), mask, impl="torch")
    torch.testing.assert_close(got.double(), wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("mean", [1e4, -3e6])
def test_a_large_mean_does_not_swallow_the_spread(mean: float) -> None:
    x = (torch.randn(50_000) + mean).float()
    mask = torch.rand(50_000) < 0.8
    got, wanted = rk.masked_whiten(x, mask, impl="native"), rk.masked_whiten(x.double(), mask, impl="torch")
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-5)


def test_equal_numbers_whiten_to_zero_and_a_nan_shows() -> None:
    same = torch.full((4, 5), 0.1)
    assert not rk.masked_whiten(same, torch.ones(4, 5, dtype=torch.bool), impl="native").any()
    same[1, 1] = math.nan
    assert rk.masked_whiten(same, torch.ones(4, 5, dtype=torch.bool), impl="native").isnan().all()


def test_threads_change_nothing() -> None:
    x, mask, threads = torch.randn(200_000), torch.rand(200_000) < 0.5, torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(rk.masked_whiten(x, mask, impl="native"))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_gradients_of_any_order_are_the_definitions() -> None:
    mask = torch.rand(9) < 0.7
    found = []
    for dtype, impl in ((torch.float32, "native"), (torch.float64, "torch")):
        x = torch.linspace(-1, 2, 9, dtype=dtype).sin().requires_grad_()
        white = rk.masked_whiten(x, mask, impl=impl)
        (slope,) = torch.autograd.grad((white**3).sum(), x, create_graph=True)
        found.append((slope.double(), torch.autograd.grad(slope.square().sum(), x)[0].double()))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)
