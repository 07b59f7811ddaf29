"""GAE and V-trace in CUDA against the definition in float64, on the emulator."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
import sums
from rlaif_kernels import reference
from rlaif_kernels.cuda import scans

pytestmark = pytest.mark.usefixtures("emulator")

BUDGET = {torch.float32: {"rtol": 1e-4, "atol": 2e-5}, torch.float64: {"rtol": 1e-12, "atol": 1e-12}}
GIVEN = [(), ("dones",), ("next_values",), ("dones", "next_values")]


@pytest.fixture(params=["a block a row", "a block a tile"])
def _sharing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scans, "LONG", 10**9 if request.param == "a block a row" else 0)


def problem(rows: int, steps: int, dtype: torch.dtype = torch.float32, dones: bool = True) -> dict[str, Tensor]:
    """Random rows with holes; NaN in every slot that nothing may read."""
    mask, done = torch.rand(rows, steps) < 0.8, torch.rand(rows, steps) < 0.05
    mask[rows // 2 :, steps // 2 :] = False  # padding
    ends = (done & mask) if dones else torch.zeros_like(mask)
    ends = ends | (mask & (mask.flip(1).cumsum(1).flip(1) == 1))
    ratios, rewards, values = (torch.randn(rows, steps, dtype=dtype).masked_fill(~mask, math.nan) for _ in range(3))
    after = torch.randn(rows, steps, dtype=dtype).masked_fill(~(ends & mask), math.nan)
    x = {"log_ratios": ratios, "rewards": rewards, "values": values, "mask": mask, "next_values": after}
    return x | {"dones": done} if dones else x


def doubled(x: dict[str, Any]) -> dict[str, Any]:
    return {k: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in x.items()}


def agree(operation: str, x: dict[str, Any], **options: Any) -> tuple[Tensor, Tensor]:
    """That the operation gives the definition's answer; what it gives."""
    given = dict(x)
    if operation == "gae":
        given.pop("log_ratios")
    ours: tuple[Tensor, Tensor] = getattr(rk, operation)(**given, **options, impl="cuda")
    wanted = getattr(reference, operation)(**doubled(given), **doubled(options))
    dtype = given["rewards"].dtype
    for one, other in zip(ours, wanted, strict=True):
        assert one.dtype == (dtype if dtype in BUDGET else torch.float32)
        torch.testing.assert_close(one.double(), other, **BUDGET[one.dtype])
    return ours


@pytest.mark.usefixtures("_sharing")
@pytest.mark.parametrize("dtype", list(BUDGET), ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (2, 2100), (0, 5), (5, 0)], ids=str)
@pytest.mark.parametrize("given", GIVEN, ids="+".join)
@pytest.mark.parametrize("operation", ["gae", "vtrace"])
def test_they_agree_with_the_definition(
    operation: str, given: tuple[str, ...], shape: tuple[int, int], dtype: torch.dtype
) -> None:
    x = problem(*shape, dtype, dones="dones" in given)
    if "next_values" not in given:
        del x["next_values"]
    options = {"rho_clip": 1.5, "trace_clip": 0.9} if operation == "vtrace" else {}
    agree(operation, x, gamma=0.97, lam=0.9, **options)


@pytest.mark.usefixtures("_sharing")
@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (4, 37)], ids=str)
def test_gae_is_the_double_sum(shape: tuple[int, int]) -> None:
    sums.gae_agrees("cuda", shape, "cpu")


@pytest.mark.usefixtures("_sharing")
@pytest.mark.parametrize("operation", ["gae", "vtrace"])
@pytest.mark.parametrize("lengths", [[5], [0, 7, 0, 0, 2500, 1, 900, 0], [1] * 40, [600, 2500]], ids=str)
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
def test_packed_sequences_know_nothing_of_each_other(operation: str, lengths: list[int], dtype: torch.dtype) -> None:
    x = {name: tensor[0] for name, tensor in problem(1, 2 * sum(lengths)).items()}
    x = {name: tensor[: sum(lengths)] for name, tensor in x.items()}
    offsets = torch.tensor([0, *lengths]).cumsum(0).to(dtype)
    if "next_values" in x:  # the last of a sequence is an end, which problem() does not know
        x["next_values"] = torch.randn(sum(lengths))
    agree(operation, x, gamma=0.99, lam=0.95, cu_seqlens=offsets)


@pytest.mark.usefixtures("_sharing")
@pytest.mark.parametrize("operation", ["gae", "vtrace"])
@pytest.mark.parametrize("packed", [False, True])
def test_gamma_and_lambda_may_differ_from_row_to_row(operation: str, packed: bool) -> None:
    x: dict[str, Any] = problem(4, 40)
    numbers = {"gamma": torch.linspace(0.5, 1, 4), "lam": torch.linspace(1, 0.1, 4).double()}
    if packed:
        x = {name: tensor.flatten() for name, tensor in x.items()} | {"cu_seqlens": torch.arange(5) * 40}
    agree(operation, x, **numbers)


@pytest.mark.parametrize("operation", ["gae", "vtrace"])
def test_cutting_rows_up_changes_no_bit(operation: str, monkeypatch: pytest.MonkeyPatch, emulator: Any) -> None:
    x = problem(3, 9001)
    if operation == "gae":
        del x["log_ratios"]
    run = getattr(rk, operation)
    whole = run(**x, impl="cuda")
    launches = emulator.launches()
    monkeypatch.setattr(scans, "LONG", 10**9)
    assert all(map(torch.equal, whole, run(**x, impl="cuda")))
    assert (launches, emulator.launches()) == (3, 4)
    alone = run(**{name: tensor[1:2] for name, tensor in x.items()}, impl="cuda")
    assert all(torch.equal(one[0], other[1]) for one, other in zip(alone, whole, strict=True))


@pytest.mark.usefixtures("_sharing")
def test_the_order_of_threads_and_blocks_changes_no_bit(emulator: Any) -> None:
    x = problem(3, 5000)
    forth = rk.vtrace(**x, impl="cuda")
    emulator.turn_round(True)
    assert all(map(torch.equal, forth, rk.vtrace(**x, impl="cuda")))


@pytest.mark.usefixtures("_sharing")
def test_nothing_crosses_the_end_of_an_episode_not_even_nan() -> None:
    rewards = torch.ones(1, 3000)
    rewards[0, 2500] = math.nan
    dones = torch.zeros(1, 3000, dtype=torch.bool)
    dones[0, [100, 2000]] = True
    mask = torch.ones_like(dones)
    advantages, returns = rk.gae(rewards, torch.zeros_like(rewards), mask, dones=dones, impl="cuda")
    for out in (advantages, returns):
        assert out[0, :2001].isfinite().all()
        assert out[0, 2001:2501].isnan().all()
        assert out[0, 2501:].isfinite().all()


@pytest.mark.usefixtures("_sharing")
def test_long_sums_are_closer_to_float64_than_a_float32_recursion() -> None:
    rewards, values = torch.randn(2, 2, 8000)
    mask = torch.ones(2, 8000, dtype=torch.bool)
    exact = reference.gae(rewards.double(), values.double(), mask, lam=1.0)[0]
    error = (rk.gae(rewards, values, mask, lam=1.0, impl="cuda")[0] - exact).abs().max()
    plain = (reference.gae(rewards, values, mask, lam=1.0)[0] - exact).abs().max()
    assert error < plain


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_widened_and_views_are_read_in_their_own_order(dtype: torch.dtype) -> None:
    x = {name: tensor.t().contiguous().t() for name, tensor in problem(6, 33, dtype).items()}
    assert not x["rewards"].is_contiguous()
    agree("vtrace", x)
    agree("gae", {name: tensor[:, 1:] for name, tensor in x.items()})


def test_wrong_offsets_touch_no_other_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device nobody looks at them; here the check is left out."""
    room = torch.zeros(64)
    monkeypatch.setattr(scans.torch, "empty", lambda shape, **_: room[20:40])
    mask = torch.ones(20, dtype=torch.bool)
    scans.gae(torch.ones(20), torch.ones(20), mask, cu_seqlens=torch.tensor([-9, 10, 50, 2**40]))
    assert not room[:20].any()
    assert not room[40:].any()


def test_special_cases_and_detachment() -> None:
    x = problem(3, 50)
    values = x["values"].clone().requires_grad_()
    rewards, mask, dones = x["rewards"], x["mask"], x["dones"]
    ours = rk.lambda_returns(rewards, values, mask, dones=dones, impl="cuda")
    assert not ours.requires_grad
    torch.testing.assert_close(ours, reference.lambda_returns(rewards, values, mask, dones=dones))
    sums = rk.discounted_returns(rewards, mask, gamma=0.9, dones=dones, impl="cuda")
    torch.testing.assert_close(sums, reference.discounted_returns(rewards, mask, gamma=0.9, dones=dones))
