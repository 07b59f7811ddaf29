"""What a call costs before it does anything: operations on hardly any numbers, in microseconds."""

from __future__ import annotations

from dataclasses import replace

import torch

from rlaif_kernels.bench.case import Case
from rlaif_kernels.bench.cases import logprobs, losses, scans

__all__ = ["CASES"]


def _alone(case: Case, peers: int) -> Case:
    """The case, with ours and the first of its peers: torch as it stands."""
    return replace(case, label=f"{case.label}: the call itself", quick=True, own=(), peers=case.peers[:peers])


def _recorded(case: Case) -> Case:
    """The forward pass of a case as it is where a gradient is wanted."""
    return replace(case, label=f"{case.label}, recorded", work={"forward": case.work["forward"]}, recorded=True)


FEW = _alone(logprobs.case(1, 8, torch.float32, entropy=False), 1)
CASES = [
    FEW,
    _recorded(FEW),
    _alone(scans.gae(1, 4), 0),
    _alone(losses.loss(1, 4), 1),
]
