"""What must hold of losses: KL estimators, aggregation, direct preferences."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rlaif_builtins.optimisers.losses import Aggregation, kl_estimate, kl_loss, pair_loss, weights
from rlaif_builtins.selfcheck.registry import check, hold
from rlaif_core import TrainingError


@check(13, "KL estimators have the values and gradients of the closed form")
def kl() -> str:
    torch.manual_seed(0)
    logits = torch.randn(3, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(3, dtype=torch.float64).log_softmax(-1)
    logp = logits.log_softmax(-1)
    exact = (logp.exp() * (logp - reference)).sum()
    (slope,) = torch.autograd.grad(exact, logits, retain_graph=True)
    p = logp.exp().detach()

    def expected(values: Tensor) -> tuple[float, Tensor]:
        (gradient,) = torch.autograd.grad((p * values).sum(), logits, retain_graph=True)
        return float((p * values).sum().detach()), gradient

    k1, k1_slope = expected(kl_estimate(logp, reference, "k1"))
    _, k2_slope = expected(kl_estimate(logp, reference, "k2"))
    k3, k3_slope = expected(kl_estimate(logp, reference, "k3"))
    mixed, mixed_slope = expected(kl_loss(logp, logp.detach(), reference, "k3", "k2"))
    true = float(exact.detach())
    hold(max(abs(k1 - true), abs(k3 - true), abs(mixed - true)) < 1e-12, "k1 or k3 is biased")
    hold(float(k1_slope.abs().max()) < 1e-12, "k1 as a loss should have no gradient in expectation")
    hold(torch.allclose(k2_slope, slope), "k2 does not descend the reverse KL")
    hold(torch.allclose(mixed_slope, slope), "the loss in use does not descend the reverse KL")
    hold(not torch.allclose(k3_slope, slope), "k3's own gradient should be the forward KL's")
    return f"KL {true:.4f}: k1 {k1:.4f}, k3 {k3:.4f}; the loss in use has the exact gradient"


@check(15, "how a batch is cut into parts does not change the loss")
def aggregation() -> str:
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    values = torch.randn(4, 4).masked_fill(~mask, 1e9)
    expected = {
        "token_mean": values[mask].mean(),
        "sequence_mean": torch.stack([values[row][mask[row]].mean() for row in (0, 1, 3)]).mean(),
        "sequence_sum": values[mask].sum() / 3,
        "constant": values[mask].sum() / (3 * 8),
    }
    modes: tuple[Aggregation, ...] = ("token_mean", "sequence_mean", "sequence_sum", "constant")
    for mode in modes:
        weight = weights(mask, mode, length=8)
        whole = (weight * values).sum()
        parts = sum((weight[row : row + 1] * values[row : row + 1]).sum() for row in range(4))
        hold(torch.allclose(whole, expected[mode]), f"{mode} is {float(whole):.4f}, not {float(expected[mode]):.4f}")
        hold(abs(float(whole - parts)) < 1e-6, f"{mode} changes when the batch is cut into rows")
    try:
        weights(torch.zeros(2, 3, dtype=torch.bool), "token_mean")
    except TrainingError:
        return "four modes, by hand and in parts; an empty batch raises"
    raise AssertionError("a batch in which nothing counts has a loss")


@check(25, "direct preferences: log 2 where the policy is its reference, sums and not means")
def preferences() -> str:
    zero = torch.zeros(2, dtype=torch.float64)
    sigmoid = pair_loss(zero, 0.1, 0.0, "sigmoid")
    hold(bool((sigmoid - math.log(2)).abs().max() < 1e-12), f"DPO at the reference is {sigmoid[0]:.6f}, not log 2")
    ipo = pair_loss(zero, 0.1, 0.0, "ipo")
    hold(bool((ipo - 25.0).abs().max() < 1e-9), f"IPO at the reference is {ipo[0]:.6f}, not 1/(2 beta)^2")
    margin = torch.tensor([5.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(pair_loss(margin, 0.1, 0.0, "ipo").sum(), margin)
    hold(float(slope) == 0, "IPO is not flat at its optimum, a margin of 1/(2 beta)")
    return "DPO 0.693147, IPO 25 at beta 0.1"
