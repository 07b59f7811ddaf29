"""What the right answer is, and how far another is from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlaif_kernels import reference
from rlaif_kernels.bench.case import Answers, Case, Inputs, named

__all__ = ["Truth", "Wrong", "check", "deviation"]


class Wrong(Exception):  # noqa: N818  it ends one contestant's part, not the benchmark
    """An answer is further from the definition than rounding explains."""


@dataclass(frozen=True)
class Truth:
    """The definition's answers in float64, and their gradients for the upstream gradient that everybody gets."""

    answers: Answers
    gradients: Answers
    upstream: Answers

    @classmethod
    def of(cls, case: Case, inputs: Inputs) -> Truth:
        wide = {name: _widened(value) for name, value in inputs.items()}
        leaves = [wide[name].requires_grad_() for name in case.leaves]
        with torch.set_grad_enabled(bool(leaves)):
            said = named(*case.answers)(getattr(reference, case.op)(**wide))
        # In float32, so that nobody's time goes into rounding it.
        upstream = {name: torch.randn_like(answer, dtype=torch.float32) for name, answer in said.items()}
        gradients: tuple[Tensor, ...] = ()
        if leaves and set(case.work) != {"forward"}:
            gradients = torch.autograd.grad(list(said.values()), leaves, [its.double() for its in upstream.values()])
        detached = {name: answer.detach() for name, answer in said.items()}
        return cls(detached, dict(zip(case.leaves, gradients, strict=False)), upstream)


def check(case: Case, said: Answers, wanted: Answers) -> float:
    """The deviation, or `Wrong` if it is more than the case allows."""
    off = deviation(said, wanted)
    if not off <= case.bound:
        raise Wrong(f"off by {off:.1e} of the largest number, where {case.bound:.0e} is allowed")
    return off


def deviation(said: Answers, wanted: Answers) -> float:
    """The largest difference, over the largest number of what is wanted; of several answers the worst."""
    worst = 0.0
    for name, answer in said.items():
        right = wanted[name]
        if answer.shape != right.shape:
            raise Wrong(f"{name} is {list(answer.shape)}, expected {list(right.shape)}")
        if not right.numel():
            continue
        off = float((answer.detach().double() - right).abs().max()) / (float(right.abs().max()) or 1.0)
        worst = max(worst, off if off == off else float("inf"))  # NaN compares with nothing and must not pass for 0
    return worst


def _widened(value: Any) -> Any:
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.detach().double() if floating else value
