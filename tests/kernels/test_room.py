"""Results that are put where the caller wants them, or refused where they do not fit as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import here
import rlaif_kernels as rk

IMPLS = ["auto", *here.implementations("gae")]
ONES, MASK = torch.ones(2, 3), torch.tensor([[True, False, True], [True, True, False]])
ROOM = torch.empty(2, 3)
NO_ROOM: list[tuple[Any, type[Exception], str]] = [
    ((ROOM, torch.empty(3)), ValueError, r"out\[1\] is \[3\], expected \[2, 3\]"),
    ((ROOM.long(), ROOM), TypeError, r"out\[0\] is torch.int64, expected torch.float32"),
    ((ROOM, ROOM.double()), TypeError, r"out\[1\] is torch.float64, expected torch.float32"),
    ((ROOM, ROOM.to("meta")), ValueError, r"out\[1\] is on meta, expected cpu"),
    ((ROOM, None), TypeError, r"out\[1\] must be a tensor, got NoneType"),
    ((ROOM,), TypeError, "out must be a pair of tensors, got tuple"),
    (ROOM, TypeError, "out must be a pair of tensors, got Tensor"),
    ((ROOM, ROOM.clone().requires_grad_()), ValueError, r"out\[1\] requires grad, which results do not have"),
]


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lam", [0.8, torch.tensor([0.7, 0.2])])
def test_results_are_put_where_they_are_wanted(impl: str, dtype: torch.dtype, lam: Any) -> None:
    rewards, values = torch.randn(2, 2, 3, dtype=dtype)
    out = torch.empty(2, 3, dtype=dtype), torch.empty(2, 3, dtype=dtype)
    said = rk.gae(rewards, values, MASK, lam=lam, out=out, impl=impl)
    assert said[0] is out[0]
    assert said[1] is out[1]
    torch.testing.assert_close(out, rk.gae(rewards, values, MASK, lam=lam))


@pytest.mark.parametrize("impl", IMPLS)
def test_arrays_of_others_go_in_and_out_without_a_copy(impl: str) -> None:
    arrays = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    mask = np.arange(24).reshape(3, 8) % 5 > 0
    out = np.full((2, 3, 8), np.nan, np.float32)
    rk.gae(*map(torch.from_dlpack, (*arrays, mask)), out=tuple(map(torch.from_dlpack, out)), impl=impl)
    wanted = rk.gae(*map(torch.tensor, (*arrays, mask)), impl=impl)
    assert all(np.array_equal(one, other.numpy()) for one, other in zip(out, wanted, strict=True))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize(("out", "error", "message"), NO_ROOM)
def test_what_does_not_fit_is_refused(out: Any, error: type[Exception], message: str, impl: str) -> None:
    with pytest.raises(error, match=f"^gae: {message}"):
        rk.gae(ONES, ONES, MASK, out=out, impl=impl)


@pytest.mark.parametrize("impl", IMPLS)
def test_whoever_kept_what_stood_there_for_a_gradient_is_told(impl: str) -> None:
    out, leaf = (torch.ones(2, 3), torch.ones(2, 3)), torch.ones(2, 3, requires_grad=True)
    for room in out:
        product = (leaf * room).sum()
        rk.gae(ONES, ONES, MASK, out=out, impl=impl)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            product.backward()


@pytest.mark.parametrize("impl", IMPLS)
def test_what_is_learnt_may_be_written_over_where_nothing_is_recorded(impl: str) -> None:
    leaf = torch.zeros(2, 3, requires_grad=True)
    with torch.no_grad():
        rk.gae(ONES, ONES, MASK, out=(leaf, ROOM), impl=impl)
    assert torch.equal(leaf.detach(), rk.gae(ONES, ONES, MASK)[0])
