"""token_logprobs: bound by reading the logits once, and for the gradient reading them again and writing it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

import rlaif_kernels as rk
from rlaif_kernels.bench.case import Absent, Call, Case, Contestant, Inputs, Phase
from rlaif_kernels.bench.limits import Work
from rlaif_kernels.bench.peers import formulas, on_cuda, trl, verl

__all__ = ["CASES", "case"]

SPREAD = 2.5  # of random logits: their entropy is then about that of a language model's
FORWARD, BACKWARD = 5, 4  # operations a number: its maximum, difference, exponential and two sums; and back again
IN_PLACE: tuple[Phase, ...] = ("backward", "both")


def case(
    rows: int, width: int, dtype: torch.dtype, *, entropy: bool, ignored: float = 0.0, quick: bool = False
) -> Case:
    """[rows, width] logits, forward, backward and both; of a share `ignored` of the rows nothing is asked."""
    asked = rows - round(ignored * rows)
    numbers, size = asked * width, asked * width * dtype.itemsize
    written = rows * width * dtype.itemsize
    if ignored:  # of which the others' functions know nothing
        peers = formulas.plain(formulas.logprobs_of_some)
    elif entropy:
        peers = [*formulas.plain(formulas.logprobs), trl.logprobs_and_entropy(), verl.logprobs_and_entropy()]
    else:
        peers = [*formulas.plain(formulas.logprobs), trl.logprobs(), verl.logprobs(), on_cuda.liger_logprobs()]
    return Case(
        "token_logprobs",
        f"[{rows},{width}]{' with entropy' if entropy else ''}{f', {ignored:.0%} ignored' if ignored else ''}",
        dtype,
        partial(_inputs, rows, width, dtype, entropy, rows - asked),
        ("logp", "entropy") if entropy else ("logp",),
        {
            "forward": Work(size, 0, 0, numbers * FORWARD),
            "backward": Work(size, written, 0, numbers * BACKWARD),
            "both": Work(2 * size, written, 0, numbers * (FORWARD + BACKWARD)),
        },
        leaves=("logits",),
        peers=peers,
        own=(_in_place(),),
        quick=quick,
    )


def _inputs(rows: int, width: int, dtype: torch.dtype, entropy: bool, ignored: int, device: torch.device) -> Inputs:
    logits = (SPREAD * torch.randn(rows, width, device=device)).to(dtype)
    targets = torch.randint(width, (rows,), device=device)
    targets[torch.randperm(rows, device=device)[:ignored]] = -100
    return {"logits": logits, "targets": targets, "entropy": entropy}


def _in_place() -> Contestant:
    """The best of ours, with the gradient in the place of the logits."""

    def prepare(inputs: Inputs) -> Call:
        if rk.implementations("token_logprobs") == ["torch"]:
            raise Absent("plain torch makes no use of the leave to overwrite")
        return partial(rk.token_logprobs, **inputs, inplace_backward=True)

    return Contestant("rlaif in place", prepare, phases=IN_PLACE, spoils=("logits",))


def _forward(whole: Case) -> Case:
    """Forward alone, where the definition's gradients in float64 would not fit beside the rest."""
    return replace(whole, work={"forward": whole.work["forward"]})


CASES = [
    case(64, 32_000, torch.float32, entropy=True, quick=True),
    *(
        case(rows, width, dtype, entropy=entropy)
        for rows, width in ((256, 151_936), (512, 32_000), (8, 32_000))
        for dtype in (torch.float32, torch.bfloat16)
        for entropy in (False, True)
    ),
    case(512, 32_000, torch.float16, entropy=True),
    case(256, 151_936, torch.float32, entropy=True, ignored=0.3),
    *(replace(case(rows, 128_256, torch.bfloat16, entropy=True), large=True) for rows in (1, 128, 4096)),
    replace(case(1024, 256_000, torch.bfloat16, entropy=True), large=True),
    replace(case(4096, 128_256, torch.bfloat16, entropy=True, ignored=0.3), large=True),
    _forward(replace(case(8192, 151_936, torch.bfloat16, entropy=True), large=True)),
]
