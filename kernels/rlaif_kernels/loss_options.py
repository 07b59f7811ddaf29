"""The options of `policy_loss` as the compiled modules take them: numbers, by position."""

from __future__ import annotations

import math
from typing import Any, get_args

from torch import Tensor

from rlaif_kernels.reference.losses import Aggregation, Estimator

__all__ = ["TOKENS", "arranged"]

TOKENS = ("old_logp", "advantages", "mask")
"""What `policy_loss` takes by position, behind the log-probs."""

# In the order of csrc/policy.hpp and csrc/cuda/kernels.hpp.
ESTIMATORS, AGGREGATIONS = get_args(Estimator), get_args(Aggregation)


def arranged(of: dict[str, Any]) -> tuple[list[Tensor | None], tuple[float, ...]]:
    """Of all arguments but log-probs and entropies: the tensors, of which the last are given weights, and the numbers.

    Tensors: old log-probs, advantages, mask, reference, correction, weights. Numbers: which aggregation and its length,
    whether the objective is "cispo" and the ratio a "sequence" one, the bounds of the ratio, `dual`, `kl`,
    `entropy_weight`, and which estimators stand for the KL and its gradient.
    """
    aggregation = of["aggregation"]
    named = isinstance(aggregation, str)
    numbers = (
        AGGREGATIONS.index(aggregation) if named else len(AGGREGATIONS),
        of.get("length") or 1,  # without which weights are given
        of["objective"] == "cispo",
        of["ratio"] == "sequence",
        1 - of["low"],
        1 + of["high"],
        math.inf if of["dual"] is None else of["dual"],
        of["kl"],
        of["entropy_weight"],
        ESTIMATORS.index(of["kl_value"]),
        ESTIMATORS.index(of["kl_gradient"]),
    )
    return [*[of[name] for name in (*TOKENS, "reference", "correction")], None if named else aggregation], numbers
