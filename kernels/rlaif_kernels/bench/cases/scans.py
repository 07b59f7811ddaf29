"""GAE and its relatives: bound by reading the inputs and writing the results, once each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_kernels.bench.case import Call, Case, Contestant, Inputs
from rlaif_kernels.bench.limits import Work
from rlaif_kernels.bench.peers import scans, verl

__all__ = ["CASES", "discounted", "gae", "packed", "vtrace"]

GAMMA, LAM = 0.99, 0.95
DONES = 0.01
MEAN, LONGEST = 2048, 32_768


def gae(rows: int, steps: int, *, holes: bool = False, quick: bool = False) -> Case:
    """[rows, steps] with an end at 1 % of the tokens; or with holes in the mask, as tools leave them, and no ends."""
    # verl has masks and no ends, the others ends and no masks: each takes part where it means the same.
    theirs: Sequence[Contestant] = (
        [verl.gae()] if holes else [*scans.torchrl(), scans.stable_baselines(), scans.tianshou()]
    )
    flags = 1 if holes else 2
    return Case(
        "gae",
        f"{rows}x{steps} {'with holes' if holes else 'with 1 % ends'}",
        torch.float32,
        partial(_inputs, rows, steps, holes),
        ("advantages", "returns"),
        {"forward": Work(rows * steps * (8 + flags), rows * steps * 8, 0, rows * steps * 7)},
        peers=[*theirs, scans.numba_loop()],
        own=(_in_place(),),
        quick=quick,
    )


def _in_place() -> Contestant:
    """The best of ours where results need no new memory, which costs more than they do when it is large."""

    def prepare(inputs: Inputs) -> Call:
        out = torch.empty_like(inputs["rewards"]), torch.empty_like(inputs["rewards"])
        return partial(rk.gae, **inputs, out=out)

    return Contestant("rlaif into memory", prepare)


def packed(sequences: int) -> Case:
    """Log-normal lengths, one sequence after the other."""
    tokens = int(_lengths(sequences).sum())
    return Case(
        "gae",
        f"{sequences} packed, {tokens} tokens",
        torch.float32,
        partial(_packed, sequences),
        ("advantages", "returns"),
        {"forward": Work(tokens * 9, tokens * 8, 0, tokens * 7)},
    )


def discounted(rows: int, steps: int, *, ends: bool, quick: bool = False) -> Case:
    def make(device: torch.device) -> Inputs:
        given = _inputs(rows, steps, False, device)
        kept = {name: given[name] for name in ("rewards", "mask", "gamma")}
        return {**kept, "dones": given["dones"]} if ends else kept

    return Case(
        "discounted_returns",
        f"{rows}x{steps}{' with 1 % ends' if ends else ''}",
        torch.float32,
        make,
        ("returns",),
        {"forward": Work(rows * steps * (5 + ends), rows * steps * 4, 0, rows * steps * 2)},
        peers=[scans.reward_to_go()] if ends else [scans.lfilter()],
        quick=quick,
    )


def vtrace(rows: int, steps: int) -> Case:
    def make(device: torch.device) -> Inputs:
        given = _inputs(rows, steps, False, device)
        return {**given, "lam": 1.0, "log_ratios": 0.3 * torch.randn(rows, steps, device=device)}

    return Case(
        "vtrace",
        f"{rows}x{steps} with 1 % ends",
        torch.float32,
        make,
        ("targets", "advantages"),
        {"forward": Work(rows * steps * 14, rows * steps * 8, 0, rows * steps * 15)},
        peers=[scans.torchrl_vtrace()],
    )


def _inputs(rows: int, steps: int, holes: bool, device: torch.device) -> Inputs:
    shape = (rows, steps)
    given: Inputs = {
        "rewards": torch.randn(shape, device=device),
        "values": torch.randn(shape, device=device),
        "mask": torch.rand(shape, device=device) > 0.2 if holes else torch.ones(shape, dtype=torch.bool, device=device),
        "gamma": GAMMA,
        "lam": LAM,
    }
    if holes:
        return given
    dones = torch.rand(shape, device=device) < DONES
    dones[:, -1] = True
    return {**given, "dones": dones}


def _lengths(sequences: int) -> Tensor:
    """The same on every machine, and whatever was drawn before."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.empty(sequences).log_normal_(mean=7.2, std=0.9, generator=generator)
    return (drawn * MEAN / drawn.mean()).clamp(1, LONGEST).long()


def _packed(sequences: int, device: torch.device) -> Inputs:
    ends = torch.nn.functional.pad(_lengths(sequences).cumsum(0), (1, 0)).to(device)
    tokens = int(ends[-1])
    return {
        "rewards": torch.randn(tokens, device=device),
        "values": torch.randn(tokens, device=device),
        "mask": torch.ones(tokens, dtype=torch.bool, device=device),
        "gamma": GAMMA,
        "lam": LAM,
        "cu_seqlens": ends,
    }


CASES = [
    gae(64, 1024, quick=True),
    gae(64, 1024, holes=True, quick=True),
    *(
        gae(*shape, holes=holes)
        for shape in ((8, 1024), (64, 512), (256, 2048), (512, 8192))
        for holes in (False, True)
    ),
    *(replace(gae(*shape), large=True) for shape in ((512, 4096), (4096, 2048), (16, 65_536), (16, 131_072))),
    packed(256),
    discounted(64, 1024, ends=False, quick=True),
    discounted(64, 1024, ends=True),
    vtrace(64, 1024),
]
