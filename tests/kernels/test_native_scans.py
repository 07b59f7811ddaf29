"""The compiled kernels against the definitions, and what they refuse to be handed."""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
import sums
from rlaif_kernels import native, reference

pytestmark = pytest.mark.native

if native.missing is None:
    from rlaif_kernels.native import scans

# Terms are added up pairwise, so what is left is rounding in float32.
BUDGET = {torch.float32: {"rtol": 2e-5, "atol": 2e-5}, torch.float64: {"rtol": 1e-11, "atol": 1e-11}}


@pytest.fixture(params=native.binary.variants() if native.missing is None else ["none"])
def _variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with each of the instruction sets that this processor has."""
    monkeypatch.setattr(scans, "variant", request.param)


def problem(
    rows: int, steps: int, dtype: torch.dtype, *, kept: float = 0.8, done: float = 0.05, packed: bool = False
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random rows with holes; NaN in every slot that nothing may read. What must be given, and what may be."""
    mask, dones = torch.rand(rows, steps) < kept, torch.rand(rows, steps) < done
    lengths = torch.randint(0, steps + 1, (rows,)) if packed else torch.full((rows,), steps)
    there = torch.arange(steps) < lengths[:, None]
    mask &= there
    log_ratios, rewards, values = (torch.randn(rows, steps, dtype=dtype).masked_fill(~mask, math.nan) for _ in range(3))
    last = mask & (mask.flip(1).cumsum(1).flip(1) == 1)
    ends = {"dones": last | (dones & mask), "": last}
    given = {"log_ratios": log_ratios, "rewards": rewards, "values": values, "mask": mask}
    options = {"dones": dones}
    for name, where in ends.items():
        after = torch.randn(rows, steps, dtype=dtype).masked_fill(~where, math.nan)
        options[f"next_values {name}".strip()] = after
    if packed:
        given, options = ({name: each[there] for name, each in some.items()} for some in (given, options))
        options["cu_seqlens"] = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    return given, options


def run(name: str, given: dict[str, Tensor], impl: str, **options: Any) -> tuple[Tensor, Tensor]:
    arguments = given if name == "vtrace" else {k: v for k, v in given.items() if k != "log_ratios"}
    return getattr(rk, name)(**arguments, **options, impl=impl)


def widened(some: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: each.double() if each.is_floating_point() else each for name, each in some.items()}


@pytest.mark.usefixtures("_variant")
@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
@pytest.mark.parametrize("dtype", list(BUDGET), ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (2, 16), (2, 5), (8, 256), (0, 5), (5, 0)], ids=str)
@pytest.mark.parametrize("name", ["gae", "vtrace"])
def test_scans_agree_with_the_definition(name: str, shape: tuple[int, int], dtype: torch.dtype, packed: bool) -> None:
    for kept, done in itertools.product((1.0, 0.8, 0.03), (0.0, 0.05, 0.5)):
        given, every = problem(*shape, dtype, kept=kept, done=done, packed=packed)
        offsets = {"cu_seqlens": every["cu_seqlens"]} if packed else {}
        for options in (
            {},
            {"dones": every["dones"]},
            {"next_values": every["next_values"]},
            {"dones": every["dones"], "next_values": every["next_values dones"]},
        ):
            rates = {"gamma": 0.97, "lam": 0.9} if kept == 1.0 else {"gamma": torch.rand(shape[0]), "lam": 0.9}
            if name == "vtrace":
                rates |= {"rho_clip": 1.1, "trace_clip": 0.9}
            ours = run(name, given, "native", **options, **offsets, **rates)
            exact = run(name, widened(given), "torch", **widened(options), **offsets, **rates)
            for got, wanted in zip(ours, exact, strict=True):
                assert got.dtype == dtype
                torch.testing.assert_close(got.double(), wanted, **BUDGET[dtype])


@pytest.mark.usefixtures("_variant")
@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (4, 37)], ids=str)
def test_gae_is_the_double_sum(shape: tuple[int, int]) -> None:
    sums.gae_agrees("native", shape, "cpu")


@pytest.mark.parametrize("name", ["gae", "vtrace"])
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_nothing_crosses_the_end_of_an_episode_not_even_nan(name: str, wrong: float) -> None:
    for dtype in BUDGET:
        given = {k: torch.zeros(1, 90, dtype=dtype) for k in ("log_ratios", "rewards", "values")}
        given |= {"mask": torch.ones(1, 90, dtype=torch.bool)}
        given["rewards"][0, [40, 75]] = wrong
        dones = torch.zeros(1, 90, dtype=torch.bool)
        dones[0, [3, 35, 50]] = True  # within a vector of the wrong one, and vectors away from the other
        for out in run(name, given, "native", dones=dones):
            assert out[0].isfinite().logical_not().nonzero().flatten().tolist() == [*range(36, 41), *range(51, 76)]


def test_gae_is_closer_to_float64_than_a_float32_recursion() -> None:
    rewards, values = torch.randn(2, 4, 4096)
    mask = torch.ones(4, 4096, dtype=torch.bool)
    exact = reference.gae(rewards.double(), values.double(), mask, gamma=1.0, lam=1.0)[0]
    error = (scans.gae(rewards, values, mask, gamma=1.0, lam=1.0)[0] - exact).abs().max()
    plain = (reference.gae(rewards, values, mask, gamma=1.0, lam=1.0)[0] - exact).abs().max()
    assert error < plain


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    given, _ = problem(4, 32, dtype)
    got, wanted = run("gae", given, "native")[0], run("gae", given, "torch")[0]
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, wanted, **BUDGET[torch.float32])


def test_views_are_read_in_their_own_order() -> None:
    given = {name: tensor.t().contiguous().t() for name, tensor in problem(6, 9, torch.float64)[0].items()}
    assert not given["rewards"].is_contiguous()
    torch.testing.assert_close(run("vtrace", given, "native"), run("vtrace", given, "torch"))


def test_inputs_are_left_alone() -> None:
    given, options = problem(3, 11, torch.float32)
    before = {name: tensor.clone() for name, tensor in given.items()}
    run("gae", given, "native", next_values=options["next_values"])
    for name, tensor in given.items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["gae", "vtrace"])
def test_results_are_detached(name: str) -> None:
    given, _ = problem(2, 5, torch.float32, kept=1.0)
    given["values"].requires_grad_()
    for impl in ("native", "torch"):
        assert not any(each.requires_grad for each in run(name, given, impl))


@pytest.mark.usefixtures("_variant")
def test_a_row_depends_neither_on_the_others_nor_on_the_threads() -> None:
    given, options = problem(600, 301, torch.float32)  # enough for more than one thread
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        said = run("gae", given, "native", dones=options["dones"])
        for count in (2, 3, 7):
            torch.set_num_threads(count)
            assert all(map(torch.equal, run("gae", given, "native", dones=options["dones"]), said))
    finally:
        torch.set_num_threads(threads)
    alone = {name: each[9:10] for name, each in given.items()}
    for one, other in zip(run("gae", alone, "native", dones=options["dones"][9:10]), said, strict=True):
        assert torch.equal(one[0], other[9])


class Wrapped(Tensor):
    """A subclass whose data need not be where its address says."""


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.empty(1, device="meta"), "got a tensor on meta"),
        (torch.zeros(2, 2).to_sparse(), "needs dense tensors"),
        (torch.zeros(2, dtype=torch.complex64).conj().imag, "needs dense tensors"),
        (torch.zeros(1).as_subclass(Wrapped), "got Wrapped"),
    ],
    ids=["device", "sparse", "negated", "subclass"],
)
def test_what_has_no_plain_address_is_refused(tensor: Tensor, reason: str) -> None:
    assert reason in (native.refuses([tensor]) or "")


def test_plain_tensors_and_what_was_left_out_are_accepted() -> None:
    assert native.refuses([torch.zeros(1), torch.nn.Parameter(torch.zeros(1)), None]) is None


def test_the_binary_says_how_it_was_built() -> None:
    info = native.build_info()
    assert set(info) == {"compiler", "standard", "build", "pybind11", "target", "instructions", "threads"}
    assert info["instructions"] == native.binary.variants()[0]
    assert info["build"] == "Release"
    if sys.platform == "linux":  # where torch brings along an OpenMP that answers to GCC's names
        assert info["threads"] == "torch's threads"
        assert native.binary.members(2) == 2
    assert all(info.values())


def test_sums_of_rewards_alone_make_no_values_and_no_advantages() -> None:
    rewards, mask = torch.randn(4, 9), torch.rand(4, 9) < 0.7
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as seen:
        said = rk.discounted_returns(rewards, mask, gamma=0.9)
    made = {event.key: event.count for event in seen.key_averages() if event.key.startswith("aten::")}
    assert made == {"aten::empty_like": 1, "aten::empty_strided": 1}
    torch.testing.assert_close(said, rk.discounted_returns(rewards, mask, gamma=0.9, impl="torch"))
