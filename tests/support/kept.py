"""Log-probs over what a sampler kept, as every backend of a GPU has to give them: checks that take its name."""

from __future__ import annotations

import importlib
import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import rlaif_kernels as rk
from rlaif_kernels.sparse import Sparse

SHAPES = [(1, 3, 5, 2), (7, 64, 33, 9), (6, 130, 20, 3), (3, 2080, 12, 5)]
"""(rows, width, vocabulary, many): rows of whole words and others, and longer than what one block or tile takes."""
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "capped": {"softcap": 3.0, "scale": 0.8, "temperature": 1.7},
}


def problem(rows: int, width: int, vocabulary: int, many: int, dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    """Hidden states of which some are not asked, tokens of which some were never kept: NaN in both."""
    kept = torch.stack([1 + torch.randperm(vocabulary - 2)[:many] for _ in range(rows)])
    kept[torch.arange(many) >= torch.randint(1, many + 1, (rows, 1))] = -1
    targets = kept[:, 0].masked_fill(torch.arange(rows) == 2, -100)
    hidden = torch.randn(rows, width).masked_fill((targets == -100)[:, None], math.nan)
    weight, bias = torch.randn(vocabulary, width) * width**-0.5, torch.randn(vocabulary)
    weight[0] = weight[-1] = math.nan
    found = {"hidden": hidden.to(dtype), "weight": weight.to(dtype), "bias": bias.to(dtype)}
    return {name: one.to(device) for name, one in {**found, "targets": targets, "kept": kept}.items()}


def both_ways(x: dict[str, Tensor], impl: Any, **options: Any) -> list[Tensor]:
    """Log-probs, entropies, and the gradients of a weighted sum of both; rows without a gradient among them."""
    leaves = [x[name].detach().requires_grad_() for name in ("hidden", "weight", "bias")]
    hidden, weight, bias = leaves
    run = {"bias": bias, "entropy": True, "impl": impl, **options}
    logp, entropy = rk.kept_logprobs(hidden, weight, x["targets"], x["kept"], **run)
    weights = torch.linspace(-1, 2, len(logp), dtype=logp.dtype, device=logp.device)
    weights[3::4] = 0
    loss = (logp * weights).sum() + (entropy * weights * weights.flip(0)).sum()
    return [logp.detach(), entropy.detach(), *torch.autograd.grad(loss, leaves)]


def agree(impl: Any, shape: tuple[int, int, int, int], dtype: torch.dtype, device: str, **options: Any) -> None:
    """Values and gradients are those of float64, rounded once."""
    x = problem(*shape, dtype, device)
    wide = {name: one.double() if one.is_floating_point() else one for name, one in x.items()}
    exact = both_ways({**wide, "weight": wide["weight"].nan_to_num()}, "torch", **options)
    rounding = 0.0 if dtype == torch.float32 else torch.finfo(dtype).eps
    for one, other, its in zip(both_ways(x, impl, **options), exact, (None, None, dtype, dtype, dtype), strict=True):
        assert one.dtype == (its or torch.float32)
        slack = rounding if its else 0.0
        torch.testing.assert_close(one.double(), other, rtol=1e-5 + slack, atol=2e-5 + slack / 4)


def rows_are_their_own(impl: Any, device: str) -> None:
    """What is said of a row, and its gradient, do not depend on the others; nothing on the run."""
    x = problem(7, 64, 33, 9, torch.bfloat16, device)
    many = both_ways(x, impl)
    assert all(map(torch.equal, many, both_ways(x, impl)))
    some = {name: one if name in ("weight", "bias") else one[:1] for name, one in x.items()}
    alone = rk.kept_logprobs(some["hidden"], x["weight"], some["targets"], some["kept"], bias=x["bias"], impl=impl)
    assert torch.equal(alone, many[0][:1])


def ids_beyond_the_vocabulary(impl: Any, device: str) -> None:
    """Make their own row NaN, where nobody can wait to refuse them, and nothing else."""
    x = problem(4, 24, 12, 3, torch.float32, device)
    x["kept"][1] = torch.tensor([5, 2, 1])
    x["targets"][1] = 5
    sane = both_ways(x, impl)
    x["kept"][1, 2] = 12
    at = torch.tensor([0, 2, 3], device=device)
    for beyond in (12, 2**40):
        x["kept"][1, 2] = beyond
        logp, entropy, of_hidden, *_ = both_ways(x, impl)
        assert all(bool(one[1].isnan().all()) for one in (logp, entropy, of_hidden))
        assert all(
            torch.equal(one[at], other[at]) for one, other in zip((logp, entropy, of_hidden), sane, strict=False)
        )


def layouts(impl: Any, device: str) -> None:
    """Where rows lie changes no bit; in Triton, which sums up what is aligned in another order, the last ones."""
    slack = 1e-5 if impl == "triton" else 0.0
    x = problem(6, 64, 33, 9, torch.float32, device)
    wanted = both_ways(x, impl)
    held = {name: torch.randn(len(x[name]), 69, device=device) for name in ("hidden", "weight")}
    apart = {name: one[:, :64].copy_(x[name]) for name, one in held.items()}
    shifted = {name: one.clone()[:, 1:65].copy_(x[name]) for name, one in held.items()}
    turned = {name: x[name].t().contiguous().t() for name in ("hidden", "weight", "kept")}
    for one in (apart, shifted, turned):
        torch.testing.assert_close(both_ways({**x, **one}, impl), wanted, rtol=slack, atol=slack)
    shaped = [x[name].view(2, 3, *x[name].shape[1:]) for name in ("hidden", "targets", "kept")]
    logp = rk.kept_logprobs(shaped[0], x["weight"], *shaped[1:], bias=x["bias"], impl=impl)
    torch.testing.assert_close(logp.flatten(), wanted[0], rtol=slack, atol=slack)


def terms_that_count_nothing(impl: Any, device: str) -> None:
    """Neither a factor of 0 nor an id below 0 lets a row in that is not finite; an id beyond the table is NaN."""
    kernels = importlib.import_module(f"rlaif_kernels.{impl}.sparse")
    table = torch.randn(4, 64, device=device)
    table[0] = table[2] = math.nan
    bounds, columns = torch.tensor([0, 0, 4, 6, 7]), torch.tensor([1, 2, -1, 3, 3, 1, 4])
    factors = torch.tensor([2.0, 0.0, 5.0, -1.0, 0.5, 1.0, 1.0])
    sparse = Sparse(bounds.to(device), columns.to(device), factors.to(device))
    found = kernels.sparse_product(sparse, table)
    wanted = torch.stack([torch.zeros_like(table[0]), 2 * table[1] - table[3], table[3] / 2 + table[1]])
    torch.testing.assert_close(found[:3], wanted)
    assert bool(found[3].isnan().all())


def nothing(impl: Any, device: str) -> None:
    """No rows, or nothing kept."""
    for rows, many in ((0, 3), (2, 0)):
        hidden, weight = torch.ones(rows, 8, device=device, requires_grad=True), torch.ones(5, 8, device=device)
        weight.requires_grad_()
        targets = torch.zeros(rows, dtype=torch.int64, device=device)
        kept = torch.zeros(rows, many, dtype=torch.int64, device=device)
        logp = rk.kept_logprobs(hidden, weight, targets, kept, impl=impl)
        assert logp.shape == (rows,)
        of_hidden, of_weight = torch.autograd.grad(logp.sum(), (hidden, weight))
        assert of_hidden.shape == hidden.shape
        assert not of_weight.any()


class Impatient(TorchDispatchMode):
    """Catches who looks at a number, for which a GPU would have to be waited for, and no graph be captured."""

    def __torch_dispatch__(self, operator: Any, types: Any, given: Any = (), options: Any = None) -> Any:
        aten = torch.ops.aten
        assert operator not in (aten._local_scalar_dense.default, aten.nonzero.default), f"{operator} waits"
        return operator(*given, **(options or {}))


def nobody_waits(impl: Any, device: str) -> None:
    x = problem(4, 24, 12, 3, torch.float32, device)
    with Impatient():
        found = both_ways(x, impl, temperature=torch.ones(4, device=device))
    assert all(map(torch.equal, found, both_ways(x, impl)))


CHECKS = [rows_are_their_own, ids_beyond_the_vocabulary, layouts, terms_that_count_nothing, nothing, nobody_waits]
