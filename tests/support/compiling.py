"""Calls of operations to be compiled, and arguments of the operators that then stand in a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_kernels import operators  # noqa: F401  registers the operators


def head() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(6, 8, requires_grad=True), torch.randn(40, 8, requires_grad=True), torch.randn(40)


def frozen() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(8, 8, requires_grad=True), torch.randn(40, 8), torch.randn(40)


TARGETS = torch.tensor([1, -100, 39, 0, 5, 5])
NUMBERS = (-100, 0.9, 1.0, 0.0)
MASK = torch.tensor([[True, True, False, True], [False, True, True, True]])


def rows() -> list[Tensor]:
    return [torch.randn(2, 4) for _ in range(4)]


OPERATORS: dict[str, Callable[[str], tuple[Any, ...]]] = {
    "token_logprobs": lambda backend: (torch.randn(6, 40, requires_grad=True), TARGETS, None, *NUMBERS, backend),
    "linear_logprobs": lambda backend: (*head(), TARGETS, torch.rand(6) + 0.5, *NUMBERS, backend),
    "gae": lambda backend: ([*rows()[:2], MASK, torch.rand(2)], "rewards,values,mask,gamma,lam", [0.8], backend),
    "vtrace": lambda backend: (
        [*rows()[:3], MASK],
        "log_ratios,rewards,values,mask,gamma,rho_clip",
        [0.9, 1.0],
        backend,
    ),
    "linear_policy_loss": lambda backend: (
        *frozen(),
        *(TARGETS[[0, 1, 2, 3, 4, 5, 1, 3]], torch.rand(8) + 0.5, *NUMBERS, backend, rows()[0] - 4, rows()[0]),
        *(TARGETS[[0, 1, 2, 3, 4, 5, 1, 3]].view(2, 4) >= 0, torch.rand(2, 4), rows()[0], None),
        *("clip", "token", 0.2, 0.3, 3.0, 0.1, "k3", "k2", 0.01, [True, False, False]),
    ),
    "policy_loss": lambda _: (
        rows()[0].requires_grad_(),
        rows()[1].requires_grad_(),
        *rows()[:2],
        MASK,
        rows()[0],
        None,
        None,
        [1.0, 1.0, 0.0, 0.0, 0.8, 1.2, 3.0, 0.1, 0.2, 2.0, 1.0],
    ),
}


WEIGHT = torch.linspace(-1, 1, 360).sin().view(40, 9)
OPTIONS = {"temperature": 0.7, "softcap": 2.0, "entropy": True}


def in_given_memory(x: Tensor, impl: Any) -> tuple[Tensor, Tensor]:
    out = torch.zeros(6, 40), torch.zeros(6, 40)
    rk.gae(x, x, x > -1, out=out, impl=impl)
    return out


CALLS: dict[str, Callable[..., Any]] = {
    "token_logprobs": lambda x, impl: rk.token_logprobs(x, TARGETS, impl=impl, **OPTIONS),
    "linear_logprobs": lambda x, impl: rk.linear_logprobs(x[:, :9], WEIGHT, TARGETS, impl=impl, **OPTIONS),
    "learnt head and temperatures": lambda x, impl: rk.linear_logprobs(
        WEIGHT[:6] + 1, x.T[:, :1] * WEIGHT, TARGETS, bias=x[0], temperature=x[:, 1].detach().exp(), impl=impl),
    "learnt temperature": lambda x, impl: rk.token_logprobs(x, TARGETS, temperature=x[:, 0].exp(), impl=impl),
    "tensors for numbers": lambda x, impl: rk.token_logprobs(
        x, TARGETS, scale=x.sum().detach().cos() + 2, softcap=x.sum().detach().sin() + 2, impl=impl),
    "a temperature a token": lambda x, impl: rk.token_logprobs(
        x, TARGETS, temperature=x[:, 0].detach().exp(), scale=1.3, impl=impl),
    "kept_logprobs": lambda x, impl: rk.kept_logprobs(
        x[:, :9], WEIGHT, TARGETS,
        torch.arange(40).where((x.detach() > 0) | (torch.arange(40) == TARGETS[:, None]), -1),
        entropy=True, impl=impl),
    "linear_policy_loss": lambda x, impl: rk.linear_policy_loss(
        x[None, :, :9], WEIGHT, TARGETS[None], x[None, :, 0] - 4, x[None, :, 1], TARGETS[None] >= 0, impl=impl),
    "a policy loss of many things": lambda x, impl: rk.linear_policy_loss(
        WEIGHT[None, :6] + 1, x.T[:, :1] * WEIGHT, TARGETS[None], x[None, :, 0] - 4, x[None, :, 1], TARGETS[None] >= 0,
        bias=x[0], temperature=x[None, :, 1].detach().exp(), objective="cispo", high=0.5, aggregation="sequence_mean",
        reference=x[None, :, 2] - 4, kl=0.2, entropy_weight=0.1, correction=x[None, :, 3].exp(), impl=impl),
    "a policy loss of answers": lambda x, impl: rk.linear_policy_loss(
        x[None, :, :9], WEIGHT, TARGETS[None], x[None, :, 0] - 4, x[None, :, 1], TARGETS[None] >= 0, ratio="sequence",
        impl=impl),
    "group_normalise": lambda x, impl: rk.group_normalise(
        x.flatten(), torch.arange(240) % 7, x.flatten() > -1, impl=impl),
    "attention_column": lambda x, impl: rk.attention_column(
        x.view(2, 3, 5, 8), x.view(2, 3, 5, 8), mask=x[:2, :5] > -1, window=3, impl=impl),
    "token_weights": lambda x, _: rk.token_weights(x > 0, "sequence_mean"),
    "float64 among float32": lambda x, impl: rk.policy_loss(x, x.detach().double() + 0.1, -x, x > -1, impl=impl),
    "gae": lambda x, impl: rk.gae(x, x, x > -1, gamma=0.9, dones=x > 1, impl=impl),
    "gae in given memory": in_given_memory,
    "vtrace": lambda x, impl: rk.vtrace(x, x, x, x > -1, gamma=0.9, next_values=x, impl=impl),
    "lambda_returns": lambda x, impl: rk.lambda_returns(x, x, x > -1, gamma=torch.ones(6), impl=impl),
    "discounted_returns": lambda x, impl: rk.discounted_returns(x, x > -1, gamma=0.9, impl=impl),
    "policy_loss": lambda x, impl: rk.policy_loss(x, x + 0.1, -x, x > -1, entropy=x * 2, entropy_weight=0.1, dual=2.0,
                                                  impl=impl),
    "masked_whiten": lambda x, impl: rk.masked_whiten(x, x > -1, impl=impl),
    "kl_estimate": lambda x, impl: rk.kl_estimate(x, x.detach() + 0.3, gradient="k2", impl=impl),
}  # fmt: skip


def both_ways(call: Callable[..., Any], x: Tensor, impl: str) -> list[Tensor]:
    x = x.clone().requires_grad_()
    said = call(x, impl)
    said = [said] if isinstance(said, Tensor) else list(said)
    flowing = [one for one in said if one.requires_grad]
    found = torch.autograd.grad(sum((one * one).sum() for one in flowing), x) if flowing else ()
    return [*[one.detach() for one in said], *found]


def registered_as_torch_wants_it(name: str, backend: str) -> None:
    said = torch.library.opcheck(getattr(torch.ops.rlaif, name).default, OPERATORS[name](backend))
    assert set(said.values()) == {"SUCCESS"}


def one_graph_has_the_same_numbers(name: str, impl: str) -> None:
    torch._dynamo.reset()
    x, call = torch.randn(6, 40), CALLS[name]
    wanted = both_ways(call, x, impl)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    for one, other in zip(both_ways(compiled, x, impl), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


EVERYWHERE = ("gae", "linear_logprobs", "linear_policy_loss", "token_logprobs", "vtrace")
"""The operators that run the kernels of any backend."""
