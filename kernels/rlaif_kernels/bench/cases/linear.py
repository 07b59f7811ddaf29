"""Log-probs and losses from hidden states: bound by one matrix product forward and two backward."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

from rlaif_kernels.bench.case import Case, Inputs, Phase
from rlaif_kernels.bench.limits import Work
from rlaif_kernels.bench.peers import formulas, on_cuda, torch_functions, trl

__all__ = ["CASES", "KEPT", "kept", "logprobs", "policy_loss"]

KEPT = 0.9
"""The share of the tokens that a mask keeps."""


def logprobs(
    rows: int,
    width: int,
    vocabulary: int,
    dtype: torch.dtype,
    *,
    entropy: bool = False,
    quick: bool = False,
    chunked: bool = False,
) -> Case:
    """hidden [rows, width], weight [vocabulary, width]; `chunked`: torch's chunks too, which take ten times as long."""
    peers = [*formulas.plain(formulas.linear), trl.linear()]
    if not entropy:
        theirs = torch_functions.linear_cross_entropy(chunked=chunked)
        peers += [*theirs, on_cuda.liger_linear(), *on_cuda.cut_cross_entropy()]
    return Case(
        "linear_logprobs",
        f"[{rows},{width}] x [{vocabulary},{width}]{' with entropy' if entropy else ''}",
        dtype,
        partial(_head, rows, width, vocabulary, dtype, entropy),
        ("logp", "entropy") if entropy else ("logp",),
        _products(rows, width, vocabulary, dtype),
        leaves=("hidden", "weight"),
        peers=peers,
        quick=quick,
    )


def policy_loss(
    rows: int, tokens: int, width: int, vocabulary: int, dtype: torch.dtype, *, idle: float = 0.0, quick: bool = False
) -> Case:
    """hidden [rows, tokens, width]; a mask with holes, one advantage a row, 0 for a share `idle` of the rows."""
    whole = _products(rows * tokens, width, vocabulary, dtype)["both"]
    # What is masked needs no product, and what has no gradient only the first of three.
    least = replace(whole, flops=whole.flops * KEPT * (1 - idle * 2 / 3))
    return Case(
        "linear_policy_loss",
        f"[{rows},{tokens},{width}] x [{vocabulary},{width}]{f', {idle:.0%} without advantage' if idle else ''}",
        dtype,
        partial(_loss, rows, tokens, width, vocabulary, dtype, idle),
        ("loss",),
        {"both": least},
        leaves=("hidden", "weight"),
        peers=[
            *formulas.plain(formulas.linear_loss),
            trl.linear_loss(),
            on_cuda.liger_linear_loss(),
        ],
        quick=quick,
    )


def kept(rows: int, width: int, vocabulary: int, many: int, dtype: torch.dtype) -> Case:
    """`many` tokens kept at each position, the target among them."""
    size = rows * many * width * dtype.itemsize
    flops = 2.0 * rows * many * width
    work: dict[Phase, Work] = {"forward": Work(size, 0, flops), "both": Work(2 * size, size, 3 * flops)}
    dense = replace(formulas.plain(formulas.kept_of_all, compiled=False)[0], name="torch eager, all logits")
    return Case(
        "kept_logprobs",
        f"[{rows},{width}] x [{vocabulary},{width}], {many} kept",
        dtype,
        partial(_kept, rows, width, vocabulary, many, dtype),
        ("logp",),
        work,
        leaves=("hidden", "weight"),
        peers=[*formulas.plain(formulas.kept), dense],
    )


def _products(rows: int, width: int, vocabulary: int, dtype: torch.dtype) -> dict[Phase, Work]:
    size, flops = (rows + vocabulary) * width * dtype.itemsize, 2.0 * rows * width * vocabulary
    return {
        "forward": Work(size, 0, flops),
        "backward": Work(size, size, 2 * flops),
        "both": Work(size, size, 3 * flops),
    }


def _matrices(shape: tuple[int, ...], vocabulary: int, dtype: torch.dtype, device: torch.device) -> Inputs:
    """Hidden states and a matrix whose products spread like a language model's logits."""
    width = shape[-1]
    hidden = torch.randn(shape, device=device).to(dtype)
    weight = (torch.randn(vocabulary, width, device=device) * (2.5 * width**-0.5)).to(dtype)
    return {"hidden": hidden, "weight": weight, "targets": torch.randint(vocabulary, shape[:-1], device=device)}


def _head(rows: int, width: int, vocabulary: int, dtype: torch.dtype, entropy: bool, device: torch.device) -> Inputs:
    return {**_matrices((rows, width), vocabulary, dtype, device), "entropy": entropy}


def _loss(
    rows: int, tokens: int, width: int, vocabulary: int, dtype: torch.dtype, idle: float, device: torch.device
) -> Inputs:
    inputs = _matrices((rows, tokens, width), vocabulary, dtype, device)
    with torch.no_grad():
        logits = (inputs["hidden"] @ inputs["weight"].T).float()
        logp = torch.log_softmax(logits, -1).gather(-1, inputs["targets"].unsqueeze(-1)).squeeze(-1)
    # The old policy is a little off the present one, so that some ratios are clipped and most are not.
    old = logp + 0.1 * torch.randn_like(logp)
    advantages = torch.randn(rows, 1, device=device).expand(rows, tokens).contiguous()
    advantages[: round(idle * rows)] = 0.0  # groups whose members all have the same reward
    mask = torch.rand(rows, tokens, device=device) < KEPT
    return {**inputs, "old_logp": old, "advantages": advantages, "mask": mask}


def _kept(rows: int, width: int, vocabulary: int, many: int, dtype: torch.dtype, device: torch.device) -> Inputs:
    inputs = _matrices((rows, width), vocabulary, dtype, device)
    ids = torch.rand(rows, vocabulary, device=device).topk(many).indices
    place = torch.randint(many, (rows, 1), device=device)
    return {**inputs, "targets": ids.gather(-1, place).squeeze(-1), "kept": ids}


def _memory(case: Case) -> Case:
    """Where what is held beside the matrices shows, against one who holds the logits."""
    return replace(case, peers=case.peers[:1], work={phase: case.work[phase] for phase in ("forward", "both")})


CASES = [
    logprobs(128, 896, 8_192, torch.float32, quick=True),
    *(logprobs(256, 896, 16_384, dtype, chunked=True) for dtype in (torch.float32, torch.bfloat16)),
    *(
        logprobs(*shape, dtype, entropy=entropy)
        for shape, entropy in (
            ((256, 896, 16_384), True),
            ((2048, 896, 16_384), False),
            ((256, 896, 151_936), False),
            ((128, 2304, 65_536), False),
        )
        for dtype in (torch.float32, torch.bfloat16)
    ),
    *(_memory(logprobs(2048, 64, 151_936, dtype)) for dtype in (torch.float32, torch.bfloat16)),
    *(replace(logprobs(4096, 4096, 128_256, torch.bfloat16, entropy=it), large=True) for it in (False, True)),
    *(replace(logprobs(rows, 896, 151_936, torch.bfloat16), large=True) for rows in (128, 8192)),
    replace(logprobs(4096, 2048, 128_256 // 8, torch.bfloat16), large=True),  # a process's share of a vocabulary
    policy_loss(2, 64, 896, 8_192, torch.float32, quick=True),
    *(
        policy_loss(*shape, dtype)
        for shape in ((8, 256, 896, 16_384), (4, 64, 896, 151_936))
        for dtype in (torch.float32, torch.bfloat16)
    ),
    policy_loss(10, 205, 896, 16_384, torch.float32, idle=0.7),
    *(replace(policy_loss(10, 820, 4096, 128_256, torch.bfloat16, idle=it), large=True) for it in (0.0, 0.3, 0.7)),
    replace(policy_loss(4, 1024, 4096, 128_256, torch.bfloat16), large=True),
    *(replace(kept(4096, 4096, 128_256, many, torch.bfloat16), large=True) for many in (16, 64, 256)),
    *(kept(2048, 896, 16_384, 64, dtype) for dtype in (torch.float32, torch.bfloat16)),
]
