"""Row kernels against the definition in float64: values, gradients, and that a row's bits are its own."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_kernels import reference
from rlaif_kernels.rows import Rows, Said
from rlaif_kernels.triton import interpreted

kernels = pytest.importorskip("rlaif_kernels.triton.logprobs", reason="triton is not installed")

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scaled": {"temperature": 0.7, "scale": 1.3},
    "capped": {"temperature": 1.5, "softcap": 5.0, "scale": -0.5},
    "a temperature a row": {"temperature": torch.tensor([0.5, 9.0, 2.0, 1.0])},
    "both": {"temperature": torch.tensor([0.5, 9.0, 2.0, 1.0]), "softcap": 5.0},
}
TARGETS = torch.tensor([3, -100, 0, 48])


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments so short that small rows have several, and blocks so short that a segment has."""
    monkeypatch.setattr(kernels, "BLOCK", 16)
    monkeypatch.setattr(kernels, "SEGMENT", 32)


def rows_of(width: int, device: str, dtype: torch.dtype = torch.float32, apart: int | None = None) -> Tensor:
    """Four rows, one of them ignored and full of NaN, some entries -inf, `apart` entries from one to the next."""
    logits = (torch.randn(4, apart or width) * 3).to(dtype)[:, :width]
    logits[0, 4] = logits[2, -1] = -math.inf
    logits[1] = math.nan
    return logits.to(device)


def placed(options: dict[str, Any], device: str) -> dict[str, Any]:
    return {name: x.to(device) if isinstance(x, Tensor) else x for name, x in options.items()}


@pytest.mark.parametrize(
    ("width", "dtype"), [(49, torch.float32), (64, torch.float32), (101, torch.bfloat16), (64, torch.float16)]
)
@pytest.mark.parametrize("case", OPTIONS)
def test_values_and_gradients_are_the_definitions(
    case: str, width: int, dtype: torch.dtype, device: str, eps: float
) -> None:
    options = placed(OPTIONS[case], device)
    logits = rows_of(width, device, dtype)
    targets, g, h = TARGETS.to(device), *torch.randn(2, 4, device=device)
    here, there = logits.clone().requires_grad_(), logits.double().requires_grad_()
    got = rk.token_logprobs(here, targets, entropy=True, impl="triton", **options)
    wanted = reference.token_logprobs(there, targets, entropy=True, **options)
    for x, exact in zip(got, wanted, strict=True):
        assert x.dtype == torch.float32
        torch.testing.assert_close(x.double(), exact, rtol=4 * eps, atol=32 * eps)  # z of up to 32 are subtracted
    (got[0] * g + got[1] * h).sum().backward()
    (wanted[0] * g + wanted[1] * h).sum().backward()
    # To the nearest of its dtype, but for the interpreter, which cuts bfloat16 off.
    ulps = 1.0 if interpreted and dtype == torch.bfloat16 else 0.5
    rounding = ulps * torch.finfo(dtype).eps + 64 * eps
    torch.testing.assert_close(here.grad.double(), there.grad, rtol=rounding, atol=64 * eps)
    assert not here.grad[1].any()
    without = rk.token_logprobs(logits, targets, impl="triton", **options)
    assert torch.equal(without, got[0])


def test_full_size_segments_and_blocks(device: str, eps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    logits = rows_of(kernels.SEGMENT + 2 * kernels.BLOCK + 5, device, torch.bfloat16)
    targets = torch.tensor([kernels.SEGMENT + 7, -100, 0, kernels.BLOCK], device=device)
    got = rk.token_logprobs(logits, targets, entropy=True, impl="triton")
    for x, exact in zip(got, reference.token_logprobs(logits.double(), targets, entropy=True), strict=True):
        torch.testing.assert_close(x.double(), exact, rtol=4 * eps, atol=32 * eps)


@pytest.mark.parametrize("apart", [101, 103, 128])
def test_rows_may_lie_apart(apart: int, device: str) -> None:
    logits, targets = rows_of(101, device, apart=apart), TARGETS.to(device)
    got = rk.token_logprobs(logits, targets, entropy=True, impl="triton")
    dense = rk.token_logprobs(logits.clone(), targets, entropy=True, impl="triton")
    assert all(map(torch.equal, got, dense))


def test_a_row_is_computed_alike_in_every_batch_and_every_time(device: str) -> None:
    def run(logits: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        logits = logits.clone().requires_grad_()
        logp, entropy = rk.token_logprobs(logits, targets, entropy=True, impl="triton")
        (logp - entropy).sum().backward()
        return logp.detach(), entropy.detach(), logits.grad

    logits, targets = rows_of(70, device).repeat(5, 1), TARGETS.to(device).repeat(5)  # more than one program joins
    many = run(logits, targets)
    assert all(map(torch.equal, many, run(logits, targets)))
    for row in (0, 2, 19):
        alone = run(logits[row : row + 1], targets[row : row + 1])
        assert all(torch.equal(one[0], each[row]) for one, each in zip(alone, many, strict=True))


def test_the_gradient_may_take_the_place_of_the_logits(device: str) -> None:
    logits, targets = rows_of(101, device, torch.bfloat16, apart=104), TARGETS.to(device)
    apart = logits.clone().requires_grad_()
    rk.token_logprobs(apart, targets, impl="triton").sum().backward()
    leaf = logits.clone().requires_grad_()
    place = leaf * 1
    rk.token_logprobs(place, targets, inplace_backward=True, impl="triton").sum().backward()
    assert torch.equal(place.detach(), apart.grad)
    assert torch.equal(leaf.grad, apart.grad)


def test_rows_in_one_place_are_not_overwritten(device: str) -> None:
    row, targets = torch.randn(1, 40, device=device), TARGETS.clamp(max=39).to(device)
    grads = []
    for inplace in (False, True):
        leaf = row.clone().requires_grad_()
        logits = (leaf * 1).expand(4, 40)
        rk.token_logprobs(logits, targets, inplace_backward=inplace, impl="triton").sum().backward()
        grads.append(leaf.grad)
    assert torch.equal(*grads)


@pytest.mark.parametrize("cuts", [(0, 101), (0, 1, 33, 100, 101)])
def test_columns_may_be_folded_in_one_block_after_another(cuts: tuple[int, ...], device: str, eps: float) -> None:
    logits = rows_of(101, device)
    rows = Rows(TARGETS.to(device), -100, 0.8, 1.1, 7.0, None)
    state = None
    for first, stop in itertools.pairwise(cuts):
        state = kernels.fold(logits[:, first:stop], rows, first, state)
    said, whole = kernels.finish(state, rows, True), kernels.forward(logits, rows, True)
    for got, wanted in zip(said, whole, strict=True):
        torch.testing.assert_close(got, wanted, rtol=8 * eps, atol=8 * eps)
    slopes = torch.randn(2, 4, device=device)
    gradient, wanted = torch.empty_like(logits), torch.empty_like(logits)
    kernels.descend(logits, rows, 0, whole, *slopes, wanted)
    for first, stop in itertools.pairwise(cuts):
        kernels.descend(logits[:, first:stop], rows, first, Said(*whole), *slopes, gradient[:, first:stop])
    assert torch.equal(gradient, wanted)


def test_whole_segments_may_be_forbidden_by_the_least_number(device: str) -> None:
    logits, targets = torch.randn(2, 101, device=device), torch.tensor([80, 3], device=device)
    logits[0, :70] = logits[1, 31:] = torch.finfo(torch.float32).min
    here, there = logits.clone().requires_grad_(), logits.double().requires_grad_()
    got = rk.token_logprobs(here, targets, entropy=True, impl="triton")
    wanted = reference.token_logprobs(there, targets, entropy=True)
    for x, exact in zip(got, wanted, strict=True):
        torch.testing.assert_close(x.double(), exact, rtol=1e-6, atol=1e-6)
    (got[0] + 10 * got[1]).sum().backward()
    (wanted[0] + 10 * wanted[1]).sum().backward()
    torch.testing.assert_close(here.grad.double(), there.grad, rtol=1e-5, atol=1e-5)


def test_what_has_no_answer_is_nan(device: str) -> None:
    dead = torch.full((3, 40), -math.inf, device=device)
    dead[1, 3], dead[2, 39] = math.nan, math.inf
    logp, entropy = rk.token_logprobs(dead, torch.tensor([0, 3, 5], device=device), entropy=True, impl="triton")
    assert logp.isnan().all()
    assert entropy.isnan().all()
    outside = rk.token_logprobs(
        torch.zeros(3, 40, device=device), torch.tensor([40, -1, 2], device=device), impl="triton"
    )
    assert outside.isnan().tolist() == [True, True, False]


def test_no_rows_and_leading_dimensions(device: str) -> None:
    nothing = rk.token_logprobs(
        torch.zeros(0, 3, 9, device=device), TARGETS[:0, None].to(device).expand(0, 3), impl="triton"
    )
    assert nothing.shape == (0, 3)
    logits, targets = torch.randn(2, 3, 9, device=device), torch.randint(9, (2, 3), device=device)
    torch.testing.assert_close(
        rk.token_logprobs(logits[:, :-1], targets[:, 1:], impl="triton"),
        rk.token_logprobs(logits[:, :-1], targets[:, 1:], impl="torch"),
    )


def test_the_gradient_can_be_differentiated(device: str) -> None:
    logits = torch.randn(2, 5, device=device, requires_grad=True)
    targets = torch.tensor([1, 2], device=device)

    def twice(impl: Any) -> Tensor:
        logp = rk.token_logprobs(logits, targets, impl=impl)
        (slope,) = torch.autograd.grad(logp.exp().sum(), logits, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), logits)[0]

    torch.testing.assert_close(twice("triton"), twice("torch"))
