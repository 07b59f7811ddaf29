"""What holds of every operation in every implementation: checks that take both names.

Each operation has a small problem with something in it that nothing may read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_kernels.native import product

Given = dict[str, Any]
B, T, H, V = 3, 5, 8, 37
MASK = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 0, 1, 1]], dtype=torch.bool)
DONES = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 1]], dtype=torch.bool)
ENDS = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 1, 0, 0, 1]], dtype=torch.bool)
Z = {"softcap": 4.0, "scale": 0.7}
PLAIN = nullcontext()
LOSS = {"dual": 1.5, "kl": 0.3, "entropy_weight": 0.1}


def rows(*names: str) -> Given:
    return {name: torch.randn(B, T) for name in names}


def targets() -> Tensor:
    return torch.randint(V, (B, T)).masked_fill(~MASK, -100)


def head() -> Given:
    return {"hidden": torch.randn(B, T, H), "weight": torch.randn(V, H), "bias": torch.randn(V)}


def asked() -> Given:
    return {"targets": targets(), "temperature": torch.rand(B, T) + 0.5, "entropy": True, **Z}


def kept() -> Given:
    given = {**head(), **asked()}
    ids = torch.stack([1 + torch.randperm(V - 2)[:6] for _ in range(B * T)]).view(B, T, 6)
    ids[..., 4:] = -1
    given["targets"] = ids[..., 1].masked_fill(~MASK, -100)
    return given | {"kept": ids}


def loss() -> Given:
    given = rows("old_logp", "advantages", "reference", "correction")
    return given | {"mask": MASK, "aggregation": torch.rand(B, T), **LOSS}


def scan(*names: str, ends: bool = True) -> Given:
    given = rows(*names) | {"mask": MASK, "dones": DONES, "gamma": torch.tensor([0.9, 0.5, 0.99])}
    return given | ({"next_values": torch.randn(B, T)} if ends else {})


PROBLEMS: dict[str, Callable[[], Given]] = {
    "token_logprobs": lambda: {"logits": torch.randn(B, T, V) * 3, **asked()},
    "sharded_logprobs": lambda: {"logits": torch.randn(B, T, V) * 3, "first": 0, **asked()},
    "linear_logprobs": lambda: {**head(), **asked()},
    "kept_logprobs": kept,
    "linear_policy_loss": lambda: {**head(), "targets": targets().where(MASK, 10**6), **loss(), **Z},
    "policy_loss": lambda: {**rows("logp", "entropy"), **loss()},
    "gae": lambda: scan("rewards", "values"),
    "lambda_returns": lambda: scan("rewards", "values"),
    "vtrace": lambda: scan("log_ratios", "rewards", "values"),
    "discounted_returns": lambda: scan("rewards", ends=False),
    "masked_whiten": lambda: {"x": torch.randn(B, T), "mask": MASK},
    "group_normalise": lambda: {"x": torch.randn(B * T), "group": torch.arange(B * T) % 4, "mask": MASK.flatten()},
    "kl_estimate": lambda: rows("logp", "reference", "ratio"),
    "attention_column": lambda: {"query": torch.randn(B, 4, 2, H), "key": torch.randn(B, 2, T, H),
                                 "weights": torch.randn(B, 2), "mask": MASK},
}  # fmt: skip
LEAVES = {"logits", "hidden", "weight", "bias", "logp", "entropy", "x", "query", "key", "weights"}
DETACHED = {"gae", "lambda_returns", "vtrace", "discounted_returns"}
# Where a row's numbers are its own to the bit; in the others sums go over rows, or products take several at once.
ROW_BY_ROW = DETACHED | {"token_logprobs", "sharded_logprobs", "kept_logprobs", "kl_estimate"}


def floats(given: Given, change: Callable[[str, Tensor], Tensor]) -> Given:
    return {
        name: change(name, x) if isinstance(x, Tensor) and x.is_floating_point() else x for name, x in given.items()
    }


def unread(operation: str, name: str, given: Given) -> Tensor | None:
    """Where nothing reads an argument, in a shape that it broadcasts with."""
    if operation == "kl_estimate" or name == "gamma":
        return None
    if operation == "attention_column":
        return ~MASK[:, None, :, None] if name == "key" else None
    if name in ("weight", "bias"):
        taken = torch.zeros(V, dtype=torch.bool)
        taken[given["kept"].clamp(min=0) if operation == "kept_logprobs" else slice(None)] = True
        taken[0] &= operation != "kept_logprobs"  # where fillers might be looked up
        return ~taken if name == "bias" else ~taken[:, None]
    if name == "next_values":
        return ~ENDS
    off = ~MASK.view(given[name].shape[: MASK.dim()]) if operation != "group_normalise" else ~MASK.flatten()
    return off[..., None] if name in ("logits", "hidden") else off


def said(
    operation: str, impl: Any, given: Given, order: Tensor | None = None, inside: AbstractContextManager[Any] = PLAIN
) -> dict[str, Tensor]:
    """The results, and the gradients of a sum of them with weights, those of row order[i] in the i-th place."""
    leaves = {}
    if operation not in DETACHED:
        leaves = {k: v.detach().requires_grad_() for k, v in given.items() if k in LEAVES and isinstance(v, Tensor)}
    with inside:
        found = getattr(rk, operation)(**{**given, **leaves}, impl=impl)
    results = {str(n): one for n, one in enumerate([found] if isinstance(found, Tensor) else found)}
    flowing = [one for one in results.values() if one.requires_grad]
    weights = [torch.linspace(3, 2, one.numel()).view(one.shape) for one in flowing]
    if order is not None:
        weights = [one[order] if one.ndim else one for one in weights]
    total = sum((one * its).sum() for one, its in zip(flowing, weights, strict=True))
    slopes = torch.autograd.grad(total, list(leaves.values())) if flowing else ()
    return {name: one.detach() for name, one in results.items()} | dict(zip(leaves, slopes, strict=True))


def same(one: dict[str, Tensor], other: dict[str, Tensor], **slack: float) -> None:
    assert one.keys() == other.keys()
    for name, mine in one.items():
        torch.testing.assert_close(mine, other[name], **(slack or {"rtol": 0, "atol": 0}), msg=lambda m, n=name: n + m)


def the_numbers_are_those_of_float64(operation: str, impl: Any) -> None:
    given = PROBLEMS[operation]()
    exact = said(operation, "torch", floats(given, lambda _, x: x.double()))
    found = {name: one.double() for name, one in said(operation, impl, given).items()}
    same(found, exact, rtol=2e-5, atol=2e-5)  # sums of tens of float32, and differences of z of about 10


def what_is_not_read_may_hold_anything(operation: str, impl: Any) -> None:
    """Not a bit changes, of results and gradients; and no gradient comes out there."""
    given = PROBLEMS[operation]()
    places = {name: unread(operation, name, given) for name, x in given.items() if isinstance(x, Tensor)}

    def filled(garbage: float) -> Given:
        return floats(given, lambda name, x: x if places[name] is None else x.masked_fill(places[name], garbage))

    clean = said(operation, impl, filled(0.5))
    for garbage in (math.nan, math.inf, -math.inf, 1e30):
        found = said(operation, impl, filled(garbage))
        same(found, clean)
        assert all(bool(one.isfinite().all()) for one in found.values())
        for name in found.keys() & places.keys():
            assert places[name] is None or not found[name].masked_select(places[name]).any()


def the_order_of_rows_does_not_matter(operation: str, impl: Any) -> None:
    given, order = PROBLEMS[operation](), torch.tensor([2, 0, 1])
    if operation == "group_normalise":
        order = torch.randperm(B * T)

    def turned(some: Given) -> Given:
        def by_rows(name: str, x: object) -> bool:
            return isinstance(x, Tensor) and x.ndim > 0 and len(x) == len(order) and name not in ("weight", "bias")

        return {name: x[order] if by_rows(name, x) else x for name, x in some.items()}

    there, here = said(operation, impl, turned(given), order), turned(said(operation, impl, given))
    mine = {name for name in here if operation in ROW_BY_ROW and name not in ("weight", "bias")}
    same({name: there[name] for name in mine}, {name: here[name] for name in mine})
    same(there, here, rtol=1e-5, atol=1e-5)


def half_precision_is_widened_first(operation: str, impl: Any) -> None:
    """Numbers of 16 bits give what the same numbers in float32 give, and only gradients are rounded once more."""
    for dtype in (torch.bfloat16, torch.float16):
        given = floats(PROBLEMS[operation](), lambda _, x, dtype=dtype: x.to(dtype))
        narrow, wide = said(operation, impl, given), said(operation, impl, floats(given, lambda _, x: x.float()))
        for name, one in narrow.items():
            assert one.dtype == (dtype if name in given else torch.float32)
            # To the nearest, but for Triton's interpreter, which cuts off; and again where what the forward pass found
            # is multiplied with the gradient of the loss.
            rough = 1.02 if impl == "triton" or operation == "linear_policy_loss" else 0.51
            slack = torch.finfo(dtype).eps * rough if name in given else 0.0
            sums = wide[name].abs().max().item() / 2 if multiplied(operation, impl, name, one) else 1 / 64
            torch.testing.assert_close(one.float(), wide[name], rtol=2e-6 + slack, atol=3e-6 + slack * sums)


def multiplied(operation: str, impl: Any, name: str, found: Tensor) -> bool:
    """Whether this gradient is a product of gradients of logits that were rounded before, as they are by torch."""
    if not operation.startswith("linear_") or name not in ("hidden", "weight") or impl == "torch":
        return False
    return found.is_cuda or (found.dtype is torch.bfloat16 and product.able())


def autocast_rounds_nothing(operation: str, impl: Any) -> None:
    given = PROBLEMS[operation]()
    for kind in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        cast = torch.autocast(kind, torch.bfloat16)
        same(said(operation, impl, given, inside=cast), said(operation, impl, given))


def any_layout_will_do(operation: str, impl: Any) -> None:
    given = PROBLEMS[operation]()

    def turned(x: Tensor) -> Tensor:
        return x.transpose(0, -1).contiguous().transpose(0, -1) if x.ndim > 1 else x.repeat_interleave(2)[::2]

    apart = {name: turned(x) if isinstance(x, Tensor) else x for name, x in given.items()}
    same(said(operation, impl, apart), said(operation, impl, given), rtol=1e-5, atol=1e-5)


def arguments_are_left_alone_and_all_is_the_same_again(operation: str, impl: Any) -> None:
    given = PROBLEMS[operation]()
    before = {name: x.clone() for name, x in given.items() if isinstance(x, Tensor)}
    same(said(operation, impl, given), said(operation, impl, given))
    assert all(torch.equal(given[name], x) for name, x in before.items())


def results_may_be_changed_in_place(operation: str, impl: Any) -> None:
    """Each is a tensor of its own: not a view, and in memory that no other uses."""
    given = PROBLEMS[operation]()
    leaves = {k: v.requires_grad_() for k, v in given.items() if k in LEAVES and isinstance(v, Tensor)}
    found = getattr(rk, operation)(**{**given, **leaves}, impl=impl)
    found = [found] if isinstance(found, Tensor) else list(found)
    assert len({one.untyped_storage().data_ptr() for one in found}) == len(found)
    for one in found:
        one.mul_(2)


def nothing_at_all_is_fine(operation: str, impl: Any) -> None:
    """No rows: no results, and gradients of 0 for what is shared."""
    given = PROBLEMS[operation]()
    empty = {k: v[:0] if isinstance(v, Tensor) and k not in ("weight", "bias") else v for k, v in given.items()}
    found = said(operation, impl, empty)
    assert not any(bool(one.any()) for one in found.values())


def threads_at_once_do_not_disturb_each_other(operation: str, impl: Any) -> None:
    given = PROBLEMS[operation]()
    alone = said(operation, impl, given)
    with ThreadPoolExecutor(4) as pool:
        for together in pool.map(lambda _: said(operation, impl, given), range(12)):
            same(together, alone)


CHECKS = [
    the_numbers_are_those_of_float64,
    what_is_not_read_may_hold_anything,
    the_order_of_rows_does_not_matter,
    half_precision_is_widened_first,
    autocast_rounds_nothing,
    any_layout_will_do,
    arguments_are_left_alone_and_all_is_the_same_again,
    results_may_be_changed_in_place,
    nothing_at_all_is_fine,
]
