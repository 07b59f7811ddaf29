"""What the kernels aim at, held against the rows of a machine: what was reached, and why where it was not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["AIMS", "Aim", "reached", "table"]

Row = dict[str, Any]
LIMIT, READ, TIME, MEMORY = "of the limit", "times one read", "us", "of all logits' memory"
AT_MOST = (READ, TIME, MEMORY)


@dataclass(frozen=True)
class Aim:
    """A figure of ours: against another's time where `against` is its name, else against one of the above."""

    op: str
    case: str
    phase: str
    dtype: str
    against: str
    bound: float
    why: str = ""
    """What stands in the way, where it is not reached."""
    ours: str = "rlaif native"
    cache: str = "hot"


def reached(aim: Aim, rows: Iterable[Row], threads: int) -> float | None:
    """The figure itself; None if it was not measured."""

    def found(impl: str) -> Row | None:
        wanted = aim.op, aim.case, aim.phase, aim.dtype, impl, aim.cache, threads
        names = ("op", "case", "phase", "dtype", "impl", "cache", "threads")
        there = (row for row in rows if tuple(row[name] for name in names) == wanted and row.get("ms"))
        return next(there, None)

    ours, theirs = found(aim.ours), found(aim.against)
    if ours is None:
        return None
    if aim.against == LIMIT:
        return float(ours["fraction"])
    if aim.against == READ:
        return 1 / float(ours["fraction"])
    if aim.against == TIME:
        return float(ours["ms"]) * 1e3
    if aim.against == MEMORY:  # of [N,H] x [V,H]: what is held beside the weight's gradient
        count, _, vocabulary, width = map(int, re.findall(r"\d+", aim.case))
        gradient = vocabulary * width * {"f32": 4, "bf16": 2 + 4}[aim.dtype]  # its sums are in float32
        return (float(ours["peak_bytes"]) - gradient * (aim.phase == "both")) / (4 * count * vocabulary)
    return None if theirs is None else float(theirs["ms"]) / float(ours["ms"])


def table(rows: Sequence[Row], threads: int) -> str:
    """As Markdown, for one number of threads; empty where nothing that is aimed at was measured."""
    lines = []
    for aim in AIMS:
        figure = reached(aim, rows, threads)
        if figure is None:
            continue
        kept = figure <= aim.bound if aim.against in AT_MOST else figure >= aim.bound
        of = "" if aim.ours == "rlaif native" else f", {aim.ours.removeprefix('rlaif ')}"
        what = f"{aim.op} {aim.case}, {aim.dtype}, {aim.phase}{of}"
        lines.append(
            f"| {what} | {_said(aim, aim.bound)} | {_said(aim, figure)} | {'' if kept else _missed(aim, figure)} |"
        )
    return "\n".join(["| figure | aim | reached | where missed |", "|--|--|--:|--|", *lines]) if lines else ""


def _said(aim: Aim, figure: float) -> str:
    if aim.against in (LIMIT, MEMORY):
        return f"{figure:.0%} {aim.against}"
    if aim.against in (READ, TIME):
        return f"{figure:.2f} {aim.against}"
    return f"{figure:.{0 if figure >= 100 else 1}f}x {aim.against}"


def _missed(aim: Aim, figure: float) -> str:
    off = figure / aim.bound if aim.against in AT_MOST else aim.bound / figure
    return f"**by {off - 1:.0%}**: {aim.why}"


LOGITS = ("[256,151936] with entropy", "[512,32000] with entropy")
FRESH = "the time goes into new memory for the gradient, which the system fills with zeros first"
BUSY = "16-bit numbers are widened and exponentiated slower than they are read"
LOOP = "its loop is vectorised over the rows, and ours is at the limit of copying"
NAMED = "arguments are passed by name, through two calls of the benchmark's own"
AROUND = "what is around the product, an exponential for each logit before all, takes its time as well"
PAIRS = (
    "our product of bfloat16 into float32 is a little slower than oneDNN's into bfloat16, and so is what is around it"
)
AIMS = [
    *(
        aim
        for dtype in ("f32", "bf16")
        for aim in (
            Aim("token_logprobs", LOGITS[0], "forward", dtype, "torch.compile", 4),
            Aim("token_logprobs", LOGITS[0], "forward", dtype, "torch eager", 25),
            Aim("token_logprobs", LOGITS[0], "forward", dtype, READ, 1.3, BUSY),
            Aim("token_logprobs", LOGITS[1], "forward", dtype, "torch.compile", 3),
            *(
                Aim("token_logprobs", one, "both", dtype, "torch.compile", 10, FRESH if dtype == "f32" else BUSY)
                for one in LOGITS
            ),
            *(Aim("token_logprobs", one, "both", dtype, "torch.compile", 10, BUSY, "rlaif in place") for one in LOGITS),
        )
    ),
    Aim("gae", "512x8192 with holes", "forward", "f32", LIMIT, 0.7),
    Aim("gae", "512x8192 with holes", "forward", "f32", "numba loop", 4),
    Aim("gae", "512x8192 with holes", "forward", "f32", "verl", 100),
    Aim("gae", "512x8192 with 1 % ends", "forward", "f32", "numba loop", 4),
    Aim("gae", "512x8192 with 1 % ends", "forward", "f32", "torchrl vectorised", 500),
    Aim("gae", "512x8192 with 1 % ends", "forward", "f32", "torchrl", 100, LOOP),
    Aim("gae", "512x8192 with 1 % ends", "forward", "f32", "stable-baselines3", 100, LOOP),
    *(
        Aim("linear_logprobs", case, "forward", dtype, LIMIT, 0.9, PAIRS if dtype == "bf16" else AROUND)
        for case in ("[2048,896] x [16384,896]", "[256,896] x [151936,896]", "[128,2304] x [65536,2304]")
        for dtype in ("f32", "bf16")
    ),
    *(
        Aim("linear_logprobs", "[2048,64] x [151936,64]", phase, dtype, MEMORY, 0.1)
        for phase in ("forward", "both")
        for dtype in ("f32", "bf16")
    ),
    Aim("token_logprobs", "[1,8]: the call itself", "forward", "f32", TIME, 3, NAMED),
    Aim("gae", "1x4 with 1 % ends: the call itself", "forward", "f32", TIME, 3, NAMED),
    Aim("token_logprobs", "[1,8]: the call itself, recorded", "forward", "f32", TIME, 12, NAMED),
    Aim("token_logprobs", "[8192,151936] with entropy", "forward", "bf16", LIMIT, 0.9, ours="rlaif cuda", cache="cold"),
    Aim("linear_logprobs", "[4096,4096] x [128256,4096]", "forward", "bf16", LIMIT, 0.85, ours="rlaif cuda"),
    Aim("linear_policy_loss", "[4,1024,4096] x [128256,4096]", "both", "bf16", LIMIT, 1 / 1.2, ours="rlaif cuda"),
    Aim("linear_policy_loss", "[4,1024,4096] x [128256,4096]", "both", "bf16", "liger", 1.3, ours="rlaif cuda"),
    Aim("gae", "16x65536 with 1 % ends", "forward", "f32", TIME, 25, ours="rlaif cuda"),
]
