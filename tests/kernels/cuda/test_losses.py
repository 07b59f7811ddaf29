"""The policy loss, its gradients and its metrics, and whitening, in CUDA against the definition, on the emulator."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_kernels import PolicyLoss, reference

pytestmark = pytest.mark.usefixtures("emulator")

# The weights of a named aggregation are float32 by definition, and here as exact as what they weigh.
BUDGET = {torch.float32: {"rtol": 2e-5, "atol": 2e-6}, torch.float64: {"rtol": 1e-12, "atol": 1e-13}}
NAMED = {torch.float32: BUDGET[torch.float32], torch.float64: {"rtol": 2e-7, "atol": 1e-9}}
AGGREGATIONS = ["token_mean", "sequence_mean", "sequence_sum", "constant"]
OPTIONS: dict[str, dict[str, Any]] = {
    "PPO": {},
    "dual": {"dual": 1.5},
    "DAPO": {"low": 0.2, "high": 0.28},
    "unclipped": {"low": math.inf, "high": math.inf},
    "CISPO": {"objective": "cispo", "low": 1.0, "high": 0.5},
    "GSPO": {"ratio": "sequence", "low": 0.01, "high": 0.02},
    "CISPO of sequences": {"objective": "cispo", "ratio": "sequence", "low": 0.01, "high": 0.02},
}


def problem(rows: int = 5, steps: int = 37, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Rows with holes, one of them empty; NaN in every slot that nothing may read."""
    mask = torch.rand(rows, steps) < 0.7
    mask[1:2] = False
    names = ["logp", "old_logp", "advantages", "reference", "entropy", "correction"]
    x = {name: torch.randn(rows, steps, dtype=dtype) for name in names}
    x["old_logp"] = x["logp"] + 0.3 * x["old_logp"]
    x["old_logp"][:, ::7] = x["logp"][:, ::7]  # the first step of a batch: a ratio of exactly 1
    x["advantages"][:, ::5] = 0.0
    return {name: tensor.masked_fill(~mask, math.nan) for name, tensor in x.items()} | {"mask": mask}


def descended(x: dict[str, Tensor], impl: Any, dtype: torch.dtype, **options: Any) -> tuple[PolicyLoss, list[Tensor]]:
    """The loss with everything given, and its gradients with respect to log-probs and entropies."""
    given = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in x.items()}
    leaves = [given["logp"].clone().requires_grad_(), given["entropy"].clone().requires_grad_()]
    given |= {"logp": leaves[0], "entropy": leaves[1]}
    said = rk.policy_loss(**given, **options, impl=impl)
    assert not said.metrics.requires_grad
    gradients = torch.autograd.grad(3.0 * said.loss, leaves, allow_unused=True)
    return said, [torch.zeros_like(x["logp"]) if one is None else one for one in gradients]


def agree(x: dict[str, Tensor], dtype: torch.dtype = torch.float32, **options: Any) -> None:
    budget = BUDGET if isinstance(options.get("aggregation"), Tensor) else NAMED
    ours, gradients = descended(x, "cuda", dtype, **options)
    exact, wanted = descended(x, "torch", torch.float64, **options)
    for one, other in zip((*ours, *gradients), (*exact, *wanted), strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), other.double(), **budget[dtype])


@pytest.mark.parametrize("dtype", list(BUDGET), ids=str)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("case", OPTIONS)
def test_losses_gradients_and_metrics_are_those_of_float64(case: str, aggregation: str, dtype: torch.dtype) -> None:
    options = {"kl": 0.04, "entropy_weight": 0.01, "aggregation": aggregation, **OPTIONS[case]}
    options["length"] = 50 if aggregation == "constant" else None
    agree(problem(dtype=dtype), dtype, **options)


@pytest.mark.parametrize(("value", "gradient"), [*itertools.product(["k1", "k2", "k3"], repeat=2)])
def test_every_estimate_of_the_kl_goes_with_every_gradient(value: str, gradient: str) -> None:
    x = problem()
    x["reference"][0] = x["logp"][0] + 1e-3  # where e^d - 1 - d would round away
    x["reference"][2] = x["logp"][2] + 25.0
    agree(x, kl=0.1, kl_value=value, kl_gradient=gradient)


@pytest.mark.parametrize("case", OPTIONS)
@pytest.mark.parametrize("left_out", ["reference", "entropy", "correction"])
def test_what_is_not_given_counts_for_nothing(left_out: str, case: str) -> None:
    x = problem()
    del x[left_out]
    arguments = {**x, **OPTIONS[case]}
    ours, wanted = rk.policy_loss(**arguments, impl="cuda"), reference.policy_loss(**arguments)
    torch.testing.assert_close(ours.loss, wanted.loss, **BUDGET[torch.float32])
    torch.testing.assert_close(ours.metrics, wanted.metrics, **BUDGET[torch.float32])


@pytest.mark.parametrize("dtype", list(BUDGET), ids=str)
@pytest.mark.parametrize("case", OPTIONS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (300, 2), (0, 4), (4, 0)], ids=str)
def test_any_shape_and_weights_of_ones_own(shape: tuple[int, int], case: str, dtype: torch.dtype) -> None:
    weights = torch.rand(shape)
    agree(problem(*shape, dtype), dtype, kl=0.1, entropy_weight=0.1, aggregation=weights, **OPTIONS[case])


@pytest.mark.parametrize("dual", [None, 1.25])
@pytest.mark.parametrize("advantage", [-2.0, 0.0, 2.0])
def test_at_equal_branches_the_gradient_is_that_of_torch(advantage: float, dual: float | None) -> None:
    ratios = torch.tensor([[0.5, 0.75, 1.0, 1.25, 1.5]], dtype=torch.float64)
    logp = ratios.log().requires_grad_()
    arguments = (torch.zeros(1, 5), torch.full((1, 5), advantage), torch.ones(1, 5, dtype=torch.bool))
    options = {"low": 0.25, "high": 0.25, "dual": dual}
    slopes = []
    for impl in ("cuda", "torch"):
        loss = rk.policy_loss(logp, *arguments, **options, impl=impl).loss  # type: ignore[arg-type]
        slopes.append(torch.autograd.grad(loss, logp)[0])
    torch.testing.assert_close(*slopes)


def test_log_probs_in_half_precision_get_gradients_in_it() -> None:
    x = problem(dtype=torch.bfloat16)
    logp = x["logp"].clone().requires_grad_()
    loss = rk.policy_loss(logp, x["old_logp"], x["advantages"], x["mask"], impl="cuda").loss
    assert loss.dtype == torch.float32
    (gradient,) = torch.autograd.grad(loss, logp)
    assert gradient.dtype == torch.bfloat16
    again = x["logp"].clone().requires_grad_()
    wanted = reference.policy_loss(again, x["old_logp"], x["advantages"], x["mask"]).loss
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted, again)[0])


def test_nothing_unmasked_is_all_zero_and_nan_is_not_hidden() -> None:
    x = problem()
    x["mask"] = torch.zeros_like(x["mask"])
    said, gradients = descended(x, "cuda", torch.float32, kl=0.1)
    assert not any(bool(one.any()) for one in (*said, *gradients))
    logp = torch.tensor([[math.nan, 0.0]])
    mask = torch.ones(1, 2, dtype=torch.bool)
    ours, wanted = (rk.policy_loss(logp, torch.zeros(1, 2), torch.ones(1, 2), mask, impl=i) for i in ("cuda", "torch"))
    torch.testing.assert_close(ours.loss, wanted.loss, equal_nan=True)
    torch.testing.assert_close(ours.metrics, wanted.metrics, equal_nan=True)


@pytest.mark.parametrize("case", ["GSPO", "dual"])
def test_the_order_of_threads_and_blocks_changes_no_bit(case: str, emulator: Any) -> None:
    x = problem(6, 700)
    forth, slopes = descended(x, "cuda", torch.float32, kl=0.1, **OPTIONS[case])
    emulator.turn_round(True)
    back, others = descended(x, "cuda", torch.float32, kl=0.1, **OPTIONS[case])
    assert all(map(torch.equal, (*forth, *slopes), (*back, *others)))


@pytest.mark.parametrize("dtype", list(BUDGET), ids=str)
@pytest.mark.parametrize("shape", [(1,), (4097,), (3, 5, 700), (0,), (300, 4100)], ids=str)
@pytest.mark.parametrize("mean", [0.0, 1e4])
def test_whitening_and_its_gradient_are_those_of_float64(
    shape: tuple[int, ...], mean: float, dtype: torch.dtype, emulator: Any
) -> None:
    mask = torch.rand(shape) < 0.6
    x = (torch.randn(shape, dtype=dtype) + mean).masked_fill(~mask, math.nan)
    weights = torch.randn(shape, dtype=dtype)
    results = []
    for impl, given in (("cuda", x), ("torch", x.double())):
        leaf = given.clone().requires_grad_()
        out = rk.masked_whiten(leaf, mask, impl=impl)  # type: ignore[arg-type]
        results.append((out.detach(), torch.autograd.grad((out * weights).sum(), leaf)[0]))
    for one, other in zip(*results, strict=True):
        assert one.dtype == dtype
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=3e-6)
    emulator.turn_round(True)
    assert torch.equal(rk.masked_whiten(x, mask, impl="cuda"), results[0][0])


def test_whitening_can_be_differentiated_again_and_widens() -> None:
    mask = torch.rand(40) < 0.6

    def curvature(x: Tensor, impl: Any) -> Tensor:
        (slope,) = torch.autograd.grad(rk.masked_whiten(x, mask, impl=impl).pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x)[0]

    x = torch.randn(40, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(curvature(x, "cuda"), curvature(x, "torch"))
    half = torch.randn(40).bfloat16()
    torch.testing.assert_close(rk.masked_whiten(half, mask, impl="cuda"), reference.masked_whiten(half, mask))
    assert not rk.masked_whiten(half, torch.zeros_like(mask), impl="cuda").any()
