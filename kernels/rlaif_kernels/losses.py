"""Policy-gradient losses and KL estimates, by token. Meaning and formulas stand in `reference.losses`."""

from __future__ import annotations

import math
from typing import Any, get_args

import torch
from torch import Tensor

from rlaif_kernels import arguments, operators
from rlaif_kernels import reference as definitions
from rlaif_kernels.dispatch import Impl, choose
from rlaif_kernels.reference.losses import (
    METRICS,
    Aggregation,
    Estimator,
    LinearPolicyLoss,
    Objective,
    PolicyLoss,
    Ratio,
)

__all__ = [
    "METRICS",
    "Aggregation",
    "Estimator",
    "LinearPolicyLoss",
    "Objective",
    "PolicyLoss",
    "Ratio",
    "kl_estimate",
    "policy_loss",
    "token_weights",
]


def kl_estimate(
    logp: Tensor,
    reference: Tensor,
    *,
    value: Estimator = "k3",
    gradient: Estimator | None = None,
    ratio: Tensor | None = None,
    impl: Impl = "auto",
) -> Tensor:
    """Per-token estimates of KL(policy || reference) on the policy's own tokens, with the gradient chosen apart.

    Any shape, log-probs in nats -> that shape in float32 (float64 from float64). k1 is unbiased and signed, k2 biased,
    k3 unbiased and never negative (Schulman, 2020); as a loss k2 has the gradient of the reverse KL and k3 that of the
    forward one, while that of k1 is 0 in expectation (arXiv:2510.01555). `ratio` multiplies the gradient. From a
    log-ratio of 20 on, k3 stays what it is.

    >>> rk.kl_estimate(torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -2.0]), value="k3", gradient="k2")
    tensor([0.1065, 0.0000])
    """
    arguments.tensors("kl_estimate", logp=logp, reference=reference)
    arguments.matching("kl_estimate", logp, reference=reference, ratio=ratio)
    arguments.one_of("kl_estimate", "value", value, get_args(Estimator))
    if gradient is not None:
        arguments.one_of("kl_estimate", "gradient", gradient, get_args(Estimator))
    run = choose("kl_estimate", impl, (logp, reference, ratio))
    result: Tensor = run(logp, reference, value=value, gradient=gradient, ratio=ratio)
    return result


def policy_loss(
    logp: Tensor,
    old_logp: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    objective: Objective = "clip",
    ratio: Ratio = "token",
    low: float = 0.2,
    high: float = 0.2,
    dual: float | None = None,
    aggregation: Aggregation | Tensor = "token_mean",
    length: int | None = None,
    reference: Tensor | None = None,
    kl: float = 0.0,
    kl_value: Estimator = "k3",
    kl_gradient: Estimator = "k2",
    entropy: Tensor | None = None,
    entropy_weight: float = 0.0,
    correction: Tensor | None = None,
    impl: Impl = "auto",
) -> PolicyLoss:
    """The loss of PPO, GRPO, Dr. GRPO, DAPO, CISPO or GSPO, and its metrics, from one pass over the tokens.

    All tensors [B,T]; -> `PolicyLoss(loss, metrics)`, differentiable once with respect to `logp` and `entropy`. What
    each option means is written at `reference.policy_loss`, with the papers. By name:

    - PPO: the defaults; dual-clip PPO: dual=3.0
    - GRPO: aggregation="sequence_mean", kl=0.04 with `reference`; Dr. GRPO: aggregation="constant", length=L
    - DAPO: low=0.2, high=0.28; CISPO: objective="cispo", low=1.0, high=4.0
    - GSPO: ratio="sequence", low=3e-4, high=4e-4, aggregation="sequence_mean"

    >>> old_logp, advantages, mask = torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([[True, True]])
    >>> said = rk.policy_loss(torch.zeros(1, 2, requires_grad=True), old_logp, advantages, mask, high=0.28)
    >>> said.loss.item(), said.named()["ratio"].item()
    (-1.0, 1.0)
    """
    tensors = {
        "old_logp": old_logp,
        "advantages": advantages,
        "mask": mask,
        "reference": reference,
        "entropy": entropy,
        "correction": correction,
        "aggregation": aggregation if isinstance(aggregation, Tensor) else None,
    }
    arguments.tensors("policy_loss", logp=logp, old_logp=old_logp, advantages=advantages, mask=mask)
    if logp.ndim != 2:
        raise ValueError(f"policy_loss: logp must be [B,T], got {arguments.shape(logp)}")
    arguments.matching("policy_loss", logp, **tensors)
    arguments.flags("policy_loss", mask=mask)
    options: dict[str, Any] = {
        "objective": objective,
        "ratio": ratio,
        "low": low,
        "high": high,
        "dual": dual,
        "aggregation": aggregation,
        "length": length,
        "reference": reference,
        "kl": kl,
        "kl_value": kl_value,
        "kl_gradient": kl_gradient,
        "entropy": entropy,
        "entropy_weight": entropy_weight,
        "correction": correction,
    }
    options_fit("policy_loss", options)
    if torch.compiler.is_compiling() and operators.covering(impl, logp, *tensors.values(), names=("native",)):
        return operators.policy_loss(logp, old_logp=old_logp, advantages=advantages, mask=mask, **options)
    double = any(one is not None and one.dtype == torch.float64 for one in (logp, *tensors.values()))
    unfit = "computes in float32 and got float64" if double else None
    run = choose("policy_loss", impl, (logp, *tensors.values()), {"native": unfit})
    result: PolicyLoss = run(logp, old_logp, advantages, mask, **options)
    return result


def token_weights(mask: Tensor, aggregation: Aggregation = "token_mean", length: int | None = None) -> Tensor:
    """[B,T] float32 of mask [B,T] bool, 0 off it, so that (weights * values).sum() is the loss.

    "token_mean": every token alike (DAPO, arXiv:2503.14476); "sequence_mean": every answer alike, its tokens averaged
    (GRPO, arXiv:2402.03300); "sequence_sum": every answer alike, its tokens summed (REINFORCE); "constant": tokens
    summed and divided by a fixed `length` (Dr. GRPO, arXiv:2503.20783), which the others do not read. Answers without
    a token count in no denominator.

    >>> rk.token_weights(torch.tensor([[True, True], [True, False]]), "sequence_mean")
    tensor([[0.2500, 0.2500],
            [0.5000, 0.0000]])
    """
    arguments.tensors("token_weights", mask=mask)
    arguments.flags("token_weights", mask=mask)
    if mask.ndim != 2:
        raise ValueError(f"token_weights: mask must be [B,T], got {arguments.shape(mask)}")
    _aggregation_fits("token_weights", aggregation, length)
    return definitions.token_weights(mask, aggregation, length)


def options_fit(operation: str, options: dict[str, Any]) -> None:
    """Raise ValueError for what `policy_loss` cannot mean."""
    arguments.one_of(operation, "objective", options["objective"], get_args(Objective))
    arguments.one_of(operation, "ratio", options["ratio"], get_args(Ratio))
    arguments.one_of(operation, "kl_value", options["kl_value"], get_args(Estimator))
    arguments.one_of(operation, "kl_gradient", options["kl_gradient"], get_args(Estimator))
    for name in ("low", "high", "kl"):
        arguments.number(operation, name, options[name], least=0)
    if options["dual"] is not None:
        arguments.number(operation, "dual", options["dual"], least=1, above=True)
        if options["objective"] == "cispo":
            raise ValueError(f"{operation}: dual goes with objective 'clip' alone")
    if options["kl"] and options["reference"] is None:
        raise ValueError(f"{operation}: kl is {options['kl']}, which needs reference")
    arguments.number(operation, "entropy_weight", options["entropy_weight"], least=-math.inf)
    if options["entropy_weight"] and "entropy" in options and options["entropy"] is None:
        raise ValueError(f"{operation}: entropy_weight is {options['entropy_weight']}, which needs entropy")
    if not isinstance(options["aggregation"], Tensor):
        _aggregation_fits(operation, options["aggregation"], options["length"])
        if options["aggregation"] != "constant" and options["length"] is not None:
            given = f"aggregation {options['aggregation']!r} has no length, got {options['length']}"
            raise ValueError(f"{operation}: {given}")


def _aggregation_fits(operation: str, aggregation: str, length: int | None) -> None:
    arguments.one_of(operation, "aggregation", aggregation, get_args(Aggregation))
    if aggregation == "constant" and not (isinstance(length, int) and length >= 1):
        raise ValueError(f"{operation}: aggregation 'constant' needs a length of at least 1, got {length!r}")
