"""Token losses, normalising and attention for credit: small, so that the calls themselves weigh in."""

from __future__ import annotations

from functools import partial

import torch

from rlaif_kernels.bench.case import Case, Inputs
from rlaif_kernels.bench.limits import Work
from rlaif_kernels.bench.peers import formulas, verl

__all__ = ["CASES", "attention", "group", "loss", "whiten"]

DUAL = 3.0


def loss(rows: int, tokens: int, *, dual: bool = False, quick: bool = False) -> Case:
    """PPO's clipped loss with its metrics; with `dual`, the second bound that verl always applies."""
    size = rows * tokens
    return Case(
        "policy_loss",
        f"{rows}x{tokens}{' dual clip' if dual else ''}",
        torch.float32,
        partial(_loss, rows, tokens, dual),
        ("loss",),
        {"forward": Work(size * 13, 0, 0, size * 20), "both": Work(size * 13, size * 4, 0, size * 24)},
        leaves=("logp",),
        peers=[verl.loss()] if dual else formulas.plain(formulas.loss),
        quick=quick,
    )


def whiten(rows: int, tokens: int, *, quick: bool = False) -> Case:
    def make(device: torch.device) -> Inputs:
        shape = (rows, tokens)
        return {"x": 2 + torch.randn(shape, device=device), "mask": torch.rand(shape, device=device) > 0.2}

    return Case(
        "masked_whiten",
        f"{rows}x{tokens}",
        torch.float32,
        make,
        ("whitened",),
        {"forward": Work(rows * tokens * 5, rows * tokens * 4, 0, rows * tokens * 5)},
        peers=[*formulas.plain(formulas.whiten), verl.whiten()],
        quick=quick,
    )


def group(rows: int, members: int, *, unbiased: bool = False) -> Case:
    def make(device: torch.device) -> Inputs:
        given = {
            "x": torch.randn(rows, device=device),
            "group": torch.arange(rows, device=device) // members,
            "mask": torch.ones(rows, dtype=torch.bool, device=device),
        }
        return {**given, "unbiased": True} if unbiased else given

    return Case(
        "group_normalise",
        f"{rows} in groups of {members}{', of samples' if unbiased else ''}",
        torch.float32,
        make,
        ("normalised",),
        {"forward": Work(rows * 13, rows * 4, 0, rows * 6)},
        # verl divides by the deviation of a sample, the plain formula by that of a population.
        peers=[verl.group()] if unbiased else formulas.plain(partial(formulas.group, members=members), compiled=False),
    )


def attention(batch: int, heads: int, keys: int, width: int, groups: int, *, queries: int = 1) -> Case:
    """The last query alone, as reward redistribution reads it, or the last `queries` with weights."""

    def make(device: torch.device) -> Inputs:
        query = torch.randn(batch, heads, queries, width, device=device)
        given = {"query": query, "key": torch.randn(batch, groups, keys, width, device=device)}
        return given if queries == 1 else {**given, "weights": torch.rand(batch, queries, device=device)}

    seen = queries * keys - queries * (queries - 1) // 2  # of each head
    read, flops = 4.0 * batch * (heads * queries + groups * keys) * width, 2.0 * batch * heads * seen * width
    return Case(
        "attention_column",
        f"{batch} x {heads} heads x {keys} keys{f' x {queries} queries' if queries > 1 else ''}",
        torch.float32,
        make,
        ("column",),
        {"forward": Work(read, 4 * batch * keys, flops)},
        peers=formulas.plain(formulas.attention),
    )


def _loss(rows: int, tokens: int, dual: bool, device: torch.device) -> Inputs:
    shape = (rows, tokens)
    old = -torch.rand(shape, device=device) * 3
    given = {
        "logp": old + 0.2 * torch.randn(shape, device=device),
        "old_logp": old,
        "advantages": torch.randn(shape, device=device),
        "mask": torch.rand(shape, device=device) > 0.2,
    }
    return {**given, "dual": DUAL} if dual else given


CASES = [
    loss(64, 1024, quick=True),
    loss(64, 1024, dual=True),
    loss(512, 4096),
    whiten(64, 1024, quick=True),
    group(512, 8),
    group(512, 8, unbiased=True),
    attention(4, 14, 2048, 64, 2),
    attention(4, 14, 512, 64, 2, queries=512),
]
