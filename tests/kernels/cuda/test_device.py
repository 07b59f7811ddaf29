"""The CUDA kernels on a device: the definition's answers, on any stream and device, and in a graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_kernels import cuda, reference

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _there() -> None:
    if cuda.missing:
        required = "cuda" in os.environ.get("RLAIF_REQUIRE", "")
        pytest.fail(cuda.missing) if required else pytest.skip(cuda.missing)


def logits(rows: int, width: int, dtype: torch.dtype, **options: Any) -> dict[str, Any]:
    targets = torch.randint(width, (rows,))
    targets[::5] = -100
    return {"logits": (torch.randn(rows, width) * 4).to(dtype), "targets": targets, "entropy": True, **options}


def kept(rows: int, width: int, vocabulary: int, many: int, dtype: torch.dtype) -> dict[str, Any]:
    ids = torch.rand(rows, vocabulary).topk(many).indices
    hidden, weight = torch.randn(rows, width), torch.randn(vocabulary, width) * width**-0.5
    numbers = {"hidden": hidden.to(dtype), "weight": weight.to(dtype)}
    return {**numbers, "targets": ids[:, 3].contiguous(), "kept": ids, "entropy": True}


def head(rows: int, width: int, vocabulary: int, dtype: torch.dtype, **options: Any) -> dict[str, Any]:
    numbers = {"hidden": torch.randn(rows, width), "weight": torch.randn(vocabulary, width) * width**-0.5}
    targets = torch.randint(vocabulary, (rows,))
    targets[::5] = -100
    return {**{name: x.to(dtype) for name, x in numbers.items()}, "targets": targets, **options}


def head_loss(dtype: torch.dtype = torch.float32, **options: Any) -> dict[str, Any]:
    given = head(300, 64, 5000, dtype)
    shaped = {"hidden": given["hidden"].view(3, 100, 64), "targets": given["targets"].view(3, 100)}
    tokens = {"old_logp": torch.randn(3, 100) - 8, "advantages": torch.randn(3, 100)}
    return {**given, **shaped, **tokens, "mask": shaped["targets"] != -100, "entropy_weight": 0.1, **options}


def tokens(*shape: int, **others: Any) -> dict[str, Any]:
    mask, dones = (torch.rand(shape) < share for share in (0.8, 0.02))
    numbers = {name: torch.randn(shape) for name in ("rewards", "values", "next_values")}
    return {**numbers, "mask": mask, "dones": dones, **others}


def losses(**options: Any) -> dict[str, Any]:
    names = ("logp", "old_logp", "advantages", "reference", "entropy")
    numbers = {name: torch.randn(64, 300) * 0.3 for name in names}
    return {**numbers, "mask": torch.rand(64, 300) < 0.8, "kl": 0.1, "entropy_weight": 0.1, **options}


# Name -> the operation, and its arguments, large enough that blocks run side by side.
CASES: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "few rows of bf16": ("token_logprobs", lambda: logits(8, 151_936, torch.bfloat16)),
    "many rows of f16": ("token_logprobs", lambda: logits(2000, 9001, torch.float16, softcap=30.0)),
    "rows of f32": ("token_logprobs", lambda: logits(100, 50_257, torch.float32, temperature=0.7)),
    "a head": ("linear_logprobs", lambda: head(300, 64, 9000, torch.float32, entropy=True)),
    "a head of bf16": ("linear_logprobs", lambda: head(300, 64, 9000, torch.bfloat16, entropy=True, softcap=30.0)),
    "PPO of a head": ("linear_policy_loss", head_loss),
    "PPO of a head of bf16": ("linear_policy_loss", lambda: head_loss(torch.bfloat16)),
    "GSPO of a head": ("linear_policy_loss", lambda: head_loss(ratio="sequence", low=0.01, high=0.02)),
    "GSPO of a head of f16": ("linear_policy_loss", lambda: head_loss(torch.float16, ratio="sequence", low=0.1)),
    "kept tokens": ("kept_logprobs", lambda: kept(300, 1000, 500, 40, torch.float32)),
    "kept tokens of bf16": ("kept_logprobs", lambda: kept(300, 4096, 2000, 40, torch.bfloat16)),
    "gae of short rows": ("gae", lambda: tokens(64, 512)),
    "gae of long rows": ("gae", lambda: tokens(3, 20_000)),
    "gae of packed sequences": (
        "gae",
        lambda: tokens(50_000, cu_seqlens=torch.tensor([0, 20_000, 20_001, 20_001, 50_000])),
    ),
    "vtrace": ("vtrace", lambda: tokens(5, 9000, log_ratios=torch.randn(5, 9000) * 0.3)),
    "whitening": ("masked_whiten", lambda: {"x": torch.randn(64, 5000) + 100, "mask": torch.rand(64, 5000) < 0.8}),
    "PPO": ("policy_loss", losses),
    "GSPO": ("policy_loss", lambda: losses(ratio="sequence", aggregation="sequence_mean")),
}


def problem(case: str, device: str = "cuda") -> tuple[str, dict[str, Any]]:
    operation, arguments = CASES[case]
    return operation, {k: v.to(device) if isinstance(v, Tensor) else v for k, v in arguments().items()}


def both_ways(operation: str, arguments: dict[str, Any], impl: str | None) -> list[Tensor]:
    """What an operation gives, and the gradients of its sum."""
    given = {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in arguments.items()}
    names = ("logits", "logp", "entropy", "x", "hidden", "weight")
    leaves = [given[name].requires_grad_() for name in names if isinstance(given.get(name), Tensor)]
    run: Callable[..., Any] = getattr(reference, operation) if impl is None else getattr(rk, operation)
    out = run(**given, **({} if impl is None else {"impl": impl}))
    out = list(out) if isinstance(out, tuple) else [out]
    weights = [torch.linspace(-1, 1, one.numel(), device=one.device).view(one.shape) + 0.1 for one in out]
    loss = sum((one * its).sum() for one, its in zip(out, weights, strict=True))
    gradients = torch.autograd.grad(loss, leaves) if leaves else ()
    return [one.detach() for one in (*out, *gradients)]


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_float64(case: str) -> None:
    operation, arguments = problem(case)
    exact = {k: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for k, v in arguments.items()}
    for one, other in zip(both_ways(operation, arguments, "cuda"), both_ways(operation, exact, None), strict=True):
        slack = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}.get(one.dtype, 0.0)
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-4 + slack, atol=5e-5 + slack)


@pytest.mark.parametrize("case", CASES)
def test_every_run_gives_the_same_bits(case: str) -> None:
    operation, arguments = problem(case)
    first = both_ways(operation, arguments, "cuda")
    for _ in range(3):
        assert all(map(torch.equal, first, both_ways(operation, arguments, "cuda")))


def test_a_row_does_not_depend_on_how_many_there_are() -> None:
    logits, targets = torch.randn(2000, 20_000, device="cuda"), torch.randint(20_000, (2000,), device="cuda")
    many = rk.token_logprobs(logits, targets, entropy=True, impl="cuda")
    few = rk.token_logprobs(logits[7:10], targets[7:10], entropy=True, impl="cuda")
    assert all(torch.equal(one[7:10], other) for one, other in zip(many, few, strict=True))


@pytest.fixture
def side_stream() -> Iterator[torch.cuda.Stream]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield stream


@pytest.mark.parametrize("case", CASES)
def test_work_waits_for_what_came_before_it_on_its_stream(case: str, side_stream: torch.cuda.Stream) -> None:
    operation, arguments = problem(case)
    name = next(k for k, v in arguments.items() if isinstance(v, Tensor) and v.is_floating_point())
    wanted = both_ways(operation, arguments, "cuda")
    right = arguments[name].clone()
    arguments[name].fill_(float("nan"))
    torch.cuda._sleep(100_000_000)  # who does not work on this stream reads NaN
    arguments[name].copy_(right)
    assert all(map(torch.equal, both_ways(operation, arguments, "cuda"), wanted))
    assert torch.cuda.current_stream() == side_stream


@pytest.mark.parametrize("case", CASES)
def test_a_graph_holds_the_whole_of_it(case: str) -> None:
    operation, arguments = problem(case)
    run = getattr(rk, operation)
    given = {k: v.clone() if isinstance(v, Tensor) else v for k, v in arguments.items()}
    name = next(k for k, v in given.items() if isinstance(v, Tensor) and v.is_floating_point())
    run(**given, impl="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run(**given, impl="cuda")
    given[name].copy_(given[name] * 0.5)
    graph.replay()
    wanted = run(**given, impl="cuda")
    for one, other in zip(out, wanted, strict=True) if isinstance(out, tuple) else [(out, wanted)]:
        the_same(operation, one, other)


@pytest.mark.parametrize("case", CASES)
def test_a_graph_holds_the_way_back_as_well(case: str) -> None:
    operation, arguments = problem(case)
    name = next(k for k, v in arguments.items() if isinstance(v, Tensor) and v.is_floating_point())
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # what libraries set up when they are first called shall not be captured
        both_ways(operation, arguments, "cuda")
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = both_ways(operation, arguments, "cuda")
    arguments[name].copy_(arguments[name] * 0.5)
    graph.replay()
    for one, other in zip(captured, both_ways(operation, arguments, "cuda"), strict=True):
        the_same(operation, one, other)


def the_same(operation: str, captured: Tensor, alone: Tensor) -> None:
    """To the bit, but where rows without a gradient stay in a graph's products, which then sum in another order."""
    slack = 1e-2 if operation.startswith("linear") else 0.0
    torch.testing.assert_close(captured, alone, rtol=slack, atol=slack)


# All but the heads, which ask which rows they may leave out unless a graph is captured.
PATIENT = [case for case, (operation, _) in CASES.items() if not operation.startswith("linear")]


@pytest.mark.parametrize("case", PATIENT)
def test_nothing_waits_for_the_device(case: str) -> None:
    operation, arguments = problem(case)
    both_ways(operation, arguments, "cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        both_ways(operation, arguments, "cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_auto_takes_it() -> None:
    assert rk.implementations("gae")[0] == "cuda"


def test_another_device_than_the_current_one() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one device")
    for case in CASES:
        operation, arguments = problem(case, "cuda:1")
        wanted = both_ways(operation, arguments, "torch")
        with torch.cuda.device(0):
            ours = both_ways(operation, arguments, "cuda")
            assert torch.cuda.current_device() == 0
        for one, other in zip(ours, wanted, strict=True):
            assert one.device == other.device
            torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-2)


def test_tensors_on_two_devices_are_refused() -> None:
    logits, targets = torch.zeros(2, 5, device="cuda"), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="targets is on cpu, expected cuda"):
        rk.token_logprobs(logits, targets, impl="cuda")
    assert "got a tensor on cpu" in (cuda.refuses([logits, targets]) or "")
