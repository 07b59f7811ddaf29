"""The public operations: every implementation gives the definition's answer, and bad arguments are told apart."""

from __future__ import annotations

import inspect
import math

import pytest
import torch

import rlaif_kernels as rk
from rlaif_kernels import ops, reference

MASK = torch.tensor([[True, False, True], [True, True, False]])


@pytest.mark.parametrize("name", ops.__all__)
def test_an_operation_is_its_definition_plus_a_choice(name: str) -> None:
    public = dict(inspect.signature(getattr(ops, name)).parameters)
    assert public.pop("impl").default == "auto"
    defined = inspect.signature(getattr(reference, name)).parameters
    assert {k: (p.default, p.kind) for k, p in public.items()} == {k: (p.default, p.kind) for k, p in defined.items()}


CAPPED = {"temperature": 0.5, "softcap": 2.0, "scale": 0.3, "ignore_index": 1, "entropy": True}
CALLS = {
    "token_logprobs": lambda: ((torch.randn(2, 3, 5), torch.tensor([[0, 1, 4], [2, 3, 1]])), CAPPED),
    "gae": lambda: (
        (*torch.randn(2, 2, 3), MASK),
        {"gamma": 0.9, "lam": 0.7, "dones": ~MASK.flip(1), "next_values": torch.randn(2, 3)},
    ),
    "discounted_returns": lambda: ((torch.randn(2, 3), MASK), {"gamma": 0.9, "dones": ~MASK.flip(1)}),
    "masked_whiten": lambda: ((torch.randn(2, 3), MASK), {"eps": 0.1}),
}


@pytest.mark.parametrize("name", ops.__all__)
def test_every_implementation_gives_the_same_answer_and_minds_every_option(name: str) -> None:
    arguments, options = CALLS[name]()
    wanted = getattr(reference, name)(*arguments, **options)
    for impl in ["auto", *rk.implementations(name)]:
        torch.testing.assert_close(getattr(rk, name)(*arguments, **options, impl=impl), wanted)


@pytest.mark.parametrize("name", ops.__all__)
def test_the_choice_of_implementation_arrives(name: str) -> None:
    arguments, options = CALLS[name]()
    with pytest.raises(rk.ImplementationError, match="has no 'triton' implementation"):
        getattr(rk, name)(*arguments, **options, impl="triton")


@pytest.mark.parametrize("impl", rk.implementations("gae"))
def test_nan_off_the_mask_stays_there(impl: str) -> None:
    rewards = torch.ones(2, 3).masked_fill(~MASK, math.nan)
    advantages, returns = rk.gae(rewards, rewards, MASK, next_values=rewards, impl=impl)
    sums = rk.discounted_returns(rewards, MASK, gamma=0.9, impl=impl)
    for out in (advantages, returns, sums):
        assert out.isfinite().all()
        assert not out[~MASK].any()
    assert sums[MASK].tolist() == pytest.approx([1.9, 1.0, 1.9, 1.0])


ONES = torch.ones(2, 3)
BAD = {
    "logits and targets": (lambda: rk.token_logprobs(torch.zeros(2, 3, 5), torch.zeros(2, 4).long()), ValueError,
                           r"logits \[2, 3, 5\] do not go with targets \[2, 4\]"),
    "target dtype": (lambda: rk.token_logprobs(torch.zeros(2, 5), torch.zeros(2)), TypeError,
                     "int64, got torch.float32"),
    "temperature": (lambda: rk.token_logprobs(torch.zeros(1, 5), torch.zeros(1).long(), temperature=0.0), ValueError,
                    "temperature must be above 0"),
    "softcap": (lambda: rk.token_logprobs(torch.zeros(1, 5), torch.zeros(1).long(), softcap=-1.0), ValueError,
                "softcap must be above 0 or None"),
    "flat rewards": (lambda: rk.gae(ONES[0], ONES[0], MASK[0]), ValueError, r"rewards must be \[B,T\], got \[3\]"),
    "one value too many": (lambda: rk.gae(ONES, torch.ones(2, 4), MASK), ValueError,
                           r"values is \[2, 4\], expected \[2, 3\]"),
    "float mask": (lambda: rk.gae(ONES, ONES, ONES), TypeError, "mask must be bool, got torch.float32"),
    "integer dones": (lambda: rk.discounted_returns(ONES, MASK, gamma=1.0, dones=ONES.long()), TypeError,
                      "dones must be bool"),
    "two devices": (lambda: rk.gae(ONES, ONES.to("meta"), MASK), ValueError, "values is on meta, expected cpu"),
    "mask shape": (lambda: rk.masked_whiten(ONES, MASK[:, :2]), ValueError, r"mask is \[2, 2\], expected \[2, 3\]"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case: str) -> None:
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call()
