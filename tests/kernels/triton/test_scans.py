"""GAE and V-trace against the definition in float64, and that the ways to run them do not differ in a bit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
import sums
from rlaif_kernels import reference

kernels = pytest.importorskip("rlaif_kernels.triton.scans", reason="triton is not installed")

LENGTHS = [9, 0, 17, 8, 1, 30, 0]
NUMBERS = {"gamma": 0.97, "lam": 0.9}
CLIPS = {"rho_clip": 1.1, "trace_clip": 0.9}


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so short that rows have several; the interpreter takes its time for a scan."""
    monkeypatch.setattr(kernels, "BLOCK", 8)


@pytest.fixture(params=["a program a row", "a program a block"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "FEW", 100 if request.param == "a program a row" else 0)


def problem(*shape: int, device: str, dtype: torch.dtype = torch.float32, kept: float = 0.6) -> dict[str, Tensor]:
    """Rows with holes and ends, and NaN wherever the definition says nothing is read."""
    mask, dones = torch.rand(shape) < kept, torch.rand(shape) < 0.1
    numbers = {name: torch.randn(shape) for name in ("rewards", "values", "next_values", "log_ratios")}
    numbers["log_ratios"] *= 0.3
    given = {name: x.masked_fill(~mask, math.nan).to(device, dtype) for name, x in numbers.items()}
    return given | {"mask": mask.to(device), "dones": dones.to(device)}


def wide(given: dict[str, Any]) -> dict[str, Any]:
    return {name: x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for name, x in given.items()}


def without_ratios(given: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x for name, x in given.items() if name != "log_ratios"}


def close(got: tuple[Tensor, ...], wanted: tuple[Tensor, ...], tolerance: float) -> None:
    for x, exact in zip(got, wanted, strict=True):
        torch.testing.assert_close(x.double(), exact.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("steps", [8, 21])
def test_rows_are_the_definitions(steps: int, dtype: torch.dtype, device: str, eps: float) -> None:
    given = problem(3, steps, device=device, dtype=dtype)
    tolerance = 1e-14 if dtype == torch.float64 else 32 * eps  # about ten terms of a few units each
    got = rk.gae(**without_ratios(given), **NUMBERS, impl="triton")
    assert got[0].dtype == (dtype if dtype == torch.float64 else torch.float32)
    close(got, reference.gae(**wide(without_ratios(given)), **NUMBERS), tolerance)
    got = rk.vtrace(**given, **NUMBERS, **CLIPS, impl="triton")
    close(got, reference.vtrace(**wide(given), **NUMBERS, **CLIPS), tolerance)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (4, 37)], ids=str)
def test_gae_is_the_double_sum(shape: tuple[int, int], device: str) -> None:
    sums.gae_agrees("triton", shape, device)


def test_sequences_in_a_pack_are_the_definitions(device: str, eps: float) -> None:
    cu_seqlens = torch.tensor([0, *LENGTHS], device=device).cumsum(0)
    given = problem(sum(LENGTHS), device=device)
    numbers = {name: torch.rand(len(LENGTHS), device=device) for name in ("gamma", "lam")}
    apart = torch.stack([cu_seqlens, -cu_seqlens], 1).int()[:, 0]
    got = rk.gae(**without_ratios(given), **numbers, cu_seqlens=apart, impl="triton")
    close(got, reference.gae(**wide(without_ratios(given)), **wide(numbers), cu_seqlens=cu_seqlens), 32 * eps)
    got = rk.vtrace(**given, **numbers, **CLIPS, cu_seqlens=cu_seqlens, impl="triton")
    close(got, reference.vtrace(**wide(given), **wide(numbers), **CLIPS, cu_seqlens=cu_seqlens), 32 * eps)


def test_a_row_is_computed_alike_however_it_is_given(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone or among others, padded or not, in a pack, by one program or by several."""
    given = problem(5, 21, device=device)
    many = rk.vtrace(**given, **NUMBERS, impl="triton")
    padded = {name: torch.nn.functional.pad(x, (0, 9)) for name, x in given.items()}
    flat = {name: x.flatten() for name, x in given.items()}
    pack = rk.vtrace(**flat, **NUMBERS, cu_seqlens=torch.arange(0, 106, 21, device=device), impl="triton")
    monkeypatch.setattr(kernels, "FEW", 0)
    apart = rk.vtrace(**given, **NUMBERS, impl="triton")
    alone = rk.vtrace(**{name: x[3:4] for name, x in padded.items()}, **NUMBERS, impl="triton")
    for i in range(2):
        assert torch.equal(apart[i], many[i])
        assert torch.equal(pack[i].view(5, 21), many[i])
        assert torch.equal(alone[i][0, :21], many[i][3])


@pytest.mark.usefixtures("ways")
def test_nan_of_one_episode_does_not_reach_the_one_before(device: str) -> None:
    given = problem(1, 20, device=device, kept=1.1)
    given["dones"] = torch.arange(20, device=device)[None] == 10
    clean = rk.vtrace(**given, **NUMBERS, impl="triton")
    given["rewards"][0, 15] = math.nan
    dirty = rk.vtrace(**given, **NUMBERS, impl="triton")
    for before, after in zip(clean, dirty, strict=True):
        assert torch.equal(before[0, :11], after[0, :11])
        assert after[0, 11:15].isnan().any()


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (2, 1)])
def test_small_shapes(shape: tuple[int, int], device: str) -> None:
    given = without_ratios(problem(*shape, device=device, kept=1.1))
    close(rk.gae(**given, impl="triton"), reference.gae(**given), 1e-6)


OFFSETS = [[-9, 10, 50, 2**40], [1000, 20, 30, 40], [-(2**40), 10, 40], [0, 3000, -500, 40], [40, 0, 40, 0, 40]]


@pytest.mark.parametrize("offsets", OFFSETS, ids=str)
def test_wrong_offsets_touch_no_other_memory(offsets: list[int], device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU nobody looks at them; here the check is left out, and every room has a fence on both sides."""
    fenced, fence = [], 4096

    def roomy(*shape: Any, dtype: torch.dtype, **_: Any) -> Tensor:
        size = math.prod(shape[0] if isinstance(shape[0], torch.Size) else shape)
        fenced.append(torch.full((size + 2 * fence,), 7.0, dtype=dtype, device=device))
        return fenced[-1][fence : size + fence].view(*shape)

    given = torch.ones(40, device=device), torch.ones(40, device=device), torch.ones(40, device=device).bool()
    wrong = torch.tensor(offsets, device=device)
    monkeypatch.setattr(kernels.torch, "empty", roomy)
    kernels.gae(*given, cu_seqlens=wrong)
    monkeypatch.undo()
    assert len(fenced) == 4
    assert all(bool((one[:fence] == 7).all() and (one[-fence:] == 7).all()) for one in fenced)


def test_special_cases_and_strides(device: str) -> None:
    given = problem(12, 3, device=device)
    rewards, mask = given["rewards"].t(), given["mask"].t()
    got = rk.discounted_returns(rewards, mask, gamma=0.5, impl="triton")
    torch.testing.assert_close(got, reference.discounted_returns(rewards, mask, gamma=0.5))
