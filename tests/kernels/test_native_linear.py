"""Log-probs and policy losses of a linear layer in blocks, against the definition in float64, and what they hold."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
from memory import peak
from rlaif_kernels import chunked, head, native

pytestmark = pytest.mark.native

Z: dict[str, dict[str, Any]] = {
    "plain": {},
    "temperature": {"temperature": 0.7},
    "scale": {"scale": -1.3},
    "softcap": {"softcap": 3.0, "scale": 0.8, "temperature": 1.7},
}


@pytest.fixture(params=["whole", "blocks"])
def _cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with the sizes that are used, once with blocks so small that everything is cut."""
    if request.param == "blocks":
        monkeypatch.setitem(chunked.BLOCK, "cpu", 4096)
        monkeypatch.setattr(chunked, "STASH", 0)
        monkeypatch.setattr(chunked, "TALL", 16)
        monkeypatch.setattr(chunked, "FEW", 5)


@pytest.fixture(params=native.binary.variants() if native.missing is None else ["none"])
def _variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with each of the instruction sets that this processor has."""
    from rlaif_kernels.native import linear, logprobs

    monkeypatch.setattr(logprobs, "variant", request.param)
    monkeypatch.setattr(linear, "variant", request.param)


def problem(rows: int, width: int, vocabulary: int, *, bias: bool) -> dict[str, Tensor | None]:
    """Hidden states of which some are not asked, and NaN there."""
    targets = torch.randint(vocabulary, (rows,)).masked_fill(torch.rand(rows) < 0.2, -100)
    hidden = torch.randn(rows, width).masked_fill((targets == -100)[:, None], math.nan)
    weight = torch.randn(vocabulary, width)
    return {"hidden": hidden, "weight": weight, "bias": torch.randn(vocabulary) if bias else None, "targets": targets}


def both_ways(
    run: Any, x: dict[str, Tensor | None], dtype: torch.dtype, *more: Any, **options: Any
) -> dict[str, Tensor]:
    """Log-probs and entropies, and the gradients of a weighted sum of both."""
    leaves = {k: v.to(dtype).clone().requires_grad_() for k, v in x.items() if v is not None and k != "targets"}
    logp, entropy = run(
        leaves["hidden"], leaves["weight"], x["targets"], *more, bias=leaves.get("bias"), entropy=True, **options
    )
    weights = torch.linspace(-1, 2, logp.numel(), dtype=logp.dtype)
    weights[::3] = 0  # rows without a gradient
    loss = (logp * weights).sum() + (entropy * weights.flip(0)).sum()
    found = torch.autograd.grad(loss, list(leaves.values()))
    return {"logp": logp.detach(), "entropy": entropy.detach(), **dict(zip(leaves, found, strict=True))}


def assert_near(ours: dict[str, Tensor], exact: dict[str, Tensor], rtol: float = 1e-5) -> None:
    for name, one in ours.items():
        other = exact[name]
        torch.testing.assert_close(one.double(), other, rtol=rtol, atol=rtol * float(1 + other.abs().max()))


@pytest.mark.usefixtures("_cut")
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("shape", [(1, 3, 2), (7, 5, 17), (40, 16, 100), (33, 8, 1000)], ids=str)
@pytest.mark.parametrize("case", Z)
def test_linear_logprobs_are_those_of_float64(case: str, shape: tuple[int, int, int], bias: bool) -> None:
    x = problem(*shape, bias=bias)
    ours = both_ways(rk.linear_logprobs, x, torch.float32, impl="native", **Z[case])
    exact = both_ways(rk.linear_logprobs, x, torch.float64, impl="torch", **Z[case])
    assert_near(ours, exact, 2e-5)


@pytest.mark.usefixtures("_cut")
def test_gradients_of_rows_that_are_all_asked() -> None:
    x = problem(33, 8, 100, bias=True)
    x["hidden"], x["targets"] = torch.randn(33, 8), torch.randint(100, (33,))
    ours = both_ways(rk.linear_logprobs, x, torch.float32, impl="native")
    assert_near(ours, both_ways(rk.linear_logprobs, x, torch.float64, impl="torch"), 2e-5)
    for frozen in ({"weight", "bias"}, {"hidden", "bias"}, {"hidden", "weight"}):
        given = {k: v.detach().clone().requires_grad_(k not in frozen) for k, v in x.items() if k != "targets"}
        rk.linear_logprobs(**given, targets=x["targets"], impl="native").sum().backward()
        assert [k for k, v in given.items() if v.grad is not None and v.grad.any()] == [*({*given} - frozen)]


@pytest.mark.usefixtures("_cut")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_never_rounds_the_logits(dtype: torch.dtype) -> None:
    x = problem(33, 24, 500, bias=True)
    rounded = {k: v.to(dtype) if v is not None and k != "targets" else v for k, v in x.items()}
    ours = both_ways(rk.linear_logprobs, rounded, dtype, impl="native")
    exact = both_ways(rk.linear_logprobs, rounded, torch.float64, impl="torch")
    for name in ("logp", "entropy"):
        torch.testing.assert_close(ours[name].double(), exact[name], rtol=1e-5, atol=2e-5)
    for name in ("hidden", "weight", "bias"):
        assert ours[name].dtype == dtype
        torch.testing.assert_close(ours[name].double(), exact[name], rtol=1e-2, atol=1e-2)


def test_a_temperature_a_token_and_frozen_parts() -> None:
    x = problem(12, 6, 30, bias=False)
    warm = torch.rand(12) + 0.5
    ours = both_ways(rk.linear_logprobs, x, torch.float32, impl="native", temperature=warm)
    exact = both_ways(rk.linear_logprobs, x, torch.float64, impl="torch", temperature=warm.double())
    assert_near(ours, exact)
    hidden, weight = x["hidden"].clone().requires_grad_(), x["weight"]
    rk.linear_logprobs(hidden, weight, x["targets"], temperature=warm).sum().backward()
    assert hidden.grad.isfinite().all()
    hidden, weight = x["hidden"], x["weight"].clone().requires_grad_()
    rk.linear_logprobs(hidden, weight, x["targets"], temperature=warm).sum().backward()
    assert weight.grad.isfinite().all()


@pytest.mark.usefixtures("_cut")
def test_the_backward_pass_can_be_taken_twice_and_differentiated() -> None:
    x = problem(9, 6, 30, bias=False)
    hidden = x["hidden"].nan_to_num().requires_grad_()
    logp = rk.linear_logprobs(hidden, x["weight"], x["targets"], impl="native")
    first, second = (torch.autograd.grad(logp.sum(), hidden, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second)
    curvatures = []
    for dtype, impl in ((torch.float32, "native"), (torch.float64, "torch")):
        states = hidden.detach().to(dtype).requires_grad_()
        logp = rk.linear_logprobs(states, x["weight"].to(dtype), x["targets"], impl=impl)
        (slope,) = torch.autograd.grad(logp.exp().sum(), states, create_graph=True)
        curvatures.append(torch.autograd.grad(slope.square().sum(), states)[0].double())
    torch.testing.assert_close(*curvatures, rtol=1e-4, atol=1e-5)


def test_nothing_asked_gives_nothing() -> None:
    for targets in (torch.full((3,), -100), torch.zeros(0, dtype=torch.int64)):
        hidden = torch.full((len(targets), 4), math.nan, requires_grad=True)
        weight = torch.randn(5, 4, requires_grad=True)
        logp, entropy = rk.linear_logprobs(hidden, weight, targets, entropy=True, impl="native")
        (logp.sum() + entropy.sum()).backward()
        assert not logp.any()
        assert not hidden.grad.any()
        assert not weight.grad.any()


def test_a_kernel_that_does_both_at_once_gets_no_empty_tensors() -> None:
    from rlaif_kernels.native import logprobs

    given: list[int] = []

    def fused(hidden: Tensor, *rest: Any) -> Any:
        given.append(len(hidden))
        weight, bias, rows, entropy = rest
        return chunked.forward(logprobs, hidden, head.Head(weight, bias), rows, entropy)

    for targets in (torch.tensor([1, -100]), torch.tensor([-100, -100])):
        logp = chunked.linear_logprobs(logprobs, torch.ones(2, 3), torch.ones(4, 3), targets, fused=fused)
        assert bool(logp[1] == 0)
    assert given == [1]


def test_logits_are_never_held_whole() -> None:
    rows, width, vocabulary = 1024, 32, 80_000  # more than are kept for the way back
    hidden, weight = torch.randn(rows, width), torch.randn(vocabulary, width) * width**-0.5
    targets = torch.randint(vocabulary, (rows,))
    logits = 4 * rows * vocabulary
    with torch.no_grad():
        assert peak(lambda: hidden @ weight.T) >= logits  # what is measured is what is meant
        assert peak(lambda: rk.linear_logprobs(hidden, weight, targets, entropy=True)) < logits / 6
    hidden.requires_grad_()
    weight.requires_grad_()

    def learn() -> None:
        logp = rk.linear_logprobs(hidden, weight, targets)
        torch.autograd.grad(logp.sum(), (hidden, weight))

    assert peak(learn) - 4 * weight.numel() < logits / 6


# ---- the policy loss


LOSSES: dict[str, dict[str, Any]] = {
    "ppo": {},
    "grpo": {"aggregation": "sequence_mean", "kl": 0.1, "kl_gradient": "k3", "entropy_weight": 0.02},
    "gspo": {"ratio": "sequence", "low": 0.02, "high": 0.03},
    "cispo": {"objective": "cispo", "low": 1.0, "high": 0.3},
    "capped": {"softcap": 3.0, "scale": 0.8, "temperature": 1.7, "dual": 1.4},
    "entropy alone": {"entropy_weight": 0.1},  # which moves rows without advantage
}


def rollouts(
    rows: int, steps: int, width: int, vocabulary: int, unmasked: float = 0.8, **head: Any
) -> dict[str, Tensor]:
    """Answers with holes, some without advantage; NaN off the mask."""
    mask = torch.rand(rows, steps) < unmasked
    hidden = torch.randn(rows, steps, width).masked_fill(~mask[..., None], math.nan)
    weight, bias = torch.randn(vocabulary, width), torch.randn(vocabulary)
    targets = torch.randint(vocabulary, (rows, steps))
    logp = rk.reference.linear_logprobs(hidden, weight, targets.where(mask, -100), bias=bias, **head)
    advantages = torch.randn(rows, steps) * (torch.rand(rows, 1) < 0.7)
    numbers = {
        "old_logp": logp + torch.randn(rows, steps) * 0.3,
        "advantages": advantages,
        "reference": logp + torch.randn(rows, steps) * 0.3,
        "correction": torch.rand(rows, steps),
    }
    numbers = {name: each.masked_fill(~mask, math.nan) for name, each in numbers.items()}
    return {"hidden": hidden, "weight": weight, "bias": bias, "targets": targets, "mask": mask, **numbers}


def learnt(x: dict[str, Tensor], dtype: torch.dtype, **options: Any) -> list[Tensor]:
    leaves = [x[name].to(dtype).clone().requires_grad_() for name in ("hidden", "weight", "bias")]
    given = {name: x[name].to(dtype) for name in ("reference", "correction")}
    old, advantages = x["old_logp"].to(dtype), x["advantages"].to(dtype)
    said = rk.linear_policy_loss(
        *leaves[:2], x["targets"], old, advantages, x["mask"], bias=leaves[2], **given, **options
    )
    found = torch.autograd.grad(3 * said.loss, leaves)
    assert list(said.named()) == list(rk.METRICS)
    return [each.double() for each in (said.loss.detach(), said.metrics, said.logp, said.entropy, *found)]


@pytest.mark.usefixtures("_cut")
@pytest.mark.parametrize("shape", [(1, 1, 3, 5), (3, 7, 5, 33), (4, 30, 8, 50)], ids=str)
@pytest.mark.parametrize("case", LOSSES)
def test_linear_policy_losses_are_those_of_float64(case: str, shape: tuple[int, ...]) -> None:
    options = LOSSES[case]
    x = rollouts(*shape, **{name: options[name] for name in ("softcap", "scale", "temperature") if name in options})
    ours, exact = learnt(x, torch.float32, impl="native", **options), learnt(x, torch.float64, impl="torch", **options)
    for mine, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5 * float(1 + other.abs().max()))


@pytest.mark.usefixtures("_cut")
def test_answers_without_holes_find_their_rows_again() -> None:
    x = rollouts(4, 30, 8, 50, unmasked=1.1)
    options = {"low": math.inf, "high": math.inf}
    ours, exact = learnt(x, torch.float32, impl="native", **options), learnt(x, torch.float64, impl="torch", **options)
    for mine, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5 * float(1 + other.abs().max()))


def test_rows_without_a_gradient_take_part_in_the_first_product_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rollouts(4, 30, 8, 50)
    seen: list[tuple[str, int]] = []
    for name, which, wide in (("product", 0, 8), ("add", 1, 50)):
        real = getattr(head.dense, name)

        def counted(*given: Any, name: str = name, which: int = which, wide: int = wide, real: Any = real) -> Any:
            seen.append((name, given[which].numel() // wide))
            return real(*given)

        monkeypatch.setattr(head.dense, name, counted)
    learnt(x, torch.float32, impl="native", low=math.inf, high=math.inf)
    unmasked, moving = int(x["mask"].sum()), int((x["mask"] & (x["advantages"].nan_to_num() != 0)).sum())
    assert moving < unmasked < 120
    assert seen == [("product", unmasked), ("add", moving), ("add", moving)]
    seen.clear()
    hidden, weight = x["hidden"].clone().requires_grad_(), x["weight"]  # a frozen head needs two products
    rk.linear_policy_loss(hidden, weight, x["targets"], x["old_logp"], x["advantages"], x["mask"]).loss.backward()
    assert [name for name, _ in seen] == ["product", "add"]


@pytest.mark.parametrize("ratio", ["token", "sequence"])
@pytest.mark.parametrize("operation", ["linear_policy_loss", "linear_logprobs"])
def test_a_loss_scale_saves_small_gradients_in_float16(
    operation: str, ratio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the gradients of logits are rounded before they are multiplied, as on a GPU."""
    add = head.Gradients.add
    monkeypatch.setattr(
        head.Gradients, "add", lambda self, slopes, *rest: add(self, slopes.half().to(slopes.dtype), *rest)
    )
    monkeypatch.setattr(chunked, "STASH", 0)
    hidden, weight = torch.randn(2, 7, 20).half(), torch.randn(91, 20).half() / 4
    targets, mask = torch.randint(91, (2, 7)), torch.ones(2, 7, dtype=torch.bool)
    numbers, found = (torch.full((2, 7), -4.5), torch.full((2, 7), 1e-6)), []
    for impl in ("native", "torch"):
        leaves = [x.clone().requires_grad_() for x in (hidden, weight)]
        if operation == "linear_logprobs":
            loss = rk.linear_logprobs(*leaves, targets, impl=impl).sum() * 1e-7
        else:
            said = rk.linear_policy_loss(*leaves, targets, *numbers, mask, ratio=ratio, low=1, high=9, impl=impl)
            loss = said.loss
        found.append(torch.autograd.grad(loss * 2.0**16, leaves))
    torch.testing.assert_close(*found, rtol=1e-2, atol=1e-6)


def test_where_nothing_is_learnt_no_gradient_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlaif_kernels.native import logprobs

    x = rollouts(2, 5, 4, 9)
    hidden, weight = x["hidden"].clone().requires_grad_(), x["weight"].clone().requires_grad_()
    made: list[str] = []
    monkeypatch.setattr(head.dense, "add", lambda *_: made.append("add"))
    given = x["targets"], x["old_logp"], x["advantages"], x["mask"]
    with torch.no_grad():
        for ratio in ("token", "sequence"):
            rk.linear_policy_loss(hidden, weight, *given, ratio=ratio, impl="native")
        fused: list[int] = []
        targets = x["targets"].where(x["mask"], -100)

        def said(states: Tensor, *rest: Any) -> Any:
            fused.append(len(states))
            return chunked.forward(logprobs, states, head.Head(weight, None), rest[2], rest[3])

        chunked.linear_logprobs(logprobs, hidden, weight, targets, fused=said)  # which keeps logits for no way back
    assert not made
    assert fused == [int(x["mask"].sum())]


def test_tokens_in_float64_are_reckoned_with_in_float64() -> None:
    x = rollouts(2, 5, 4, 9)
    given = x["hidden"], x["weight"], x["targets"], x["old_logp"].double(), x["advantages"], x["mask"]
    assert rk.linear_policy_loss(*given).loss.dtype == torch.float64
    with pytest.raises(rk.ImplementationError, match=r"^linear_policy_loss: .* computes in float32 and got float64"):
        rk.linear_policy_loss(*given, impl="native")


def test_on_a_gpu_the_gradient_of_a_bias_is_summed_before_it_is_rounded() -> None:
    slopes, bias = torch.full((4096, 3), 2.0**-25), torch.zeros(3)
    there = SimpleNamespace(is_cuda=True, dtype=torch.float16, device=torch.device("cpu"))
    head.Gradients(None, None, bias).add(slopes, there, slice(None), head.Head(None, None), slice(None))  # type: ignore[arg-type]
    assert bias.tolist() == [2.0**-13] * 3


def test_gradients_are_handed_out_once() -> None:
    x = rollouts(2, 5, 4, 9)
    hidden = x["hidden"].clone().requires_grad_()
    said = rk.linear_policy_loss(
        hidden, x["weight"], x["targets"], x["old_logp"], x["advantages"], x["mask"], impl="native"
    )
    said.loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="its gradients were handed out already"):
        said.loss.backward()


# ---- what a sampler kept


@pytest.mark.usefixtures("_variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(1, 3, 5, 2), (7, 5, 33, 4), (40, 130, 50, 9)], ids=str)
@pytest.mark.parametrize("case", Z)
def test_kept_logprobs_are_those_of_float64(case: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    rows, width, vocabulary, many = shape
    x = {k: v if k == "targets" else v.to(dtype) for k, v in problem(rows, width, vocabulary, bias=True).items()}
    kept = torch.stack([torch.randperm(vocabulary)[:many] for _ in range(rows)])
    kept[torch.arange(many) >= torch.randint(1, many + 1, (rows, 1))] = -1
    x["targets"] = kept[:, 0].where(x["targets"] != -100, -100)
    ours = both_ways(rk.kept_logprobs, x, dtype, kept, impl="native", **Z[case])
    exact = both_ways(rk.kept_logprobs, x, torch.float64, kept, impl="torch", **Z[case])
    for name in ("logp", "entropy"):
        torch.testing.assert_close(ours[name].double(), exact[name], rtol=1e-5, atol=1e-5 * (1 + width**0.5))
    loose = 2e-5 if dtype == torch.float32 else 2e-2
    for name in ("hidden", "weight", "bias"):
        torch.testing.assert_close(ours[name].double(), exact[name], rtol=loose, atol=loose)


def test_all_kept_is_the_whole_vocabulary_and_what_was_not_kept_is_impossible() -> None:
    x = problem(6, 8, 12, bias=True)
    every = torch.arange(12).expand(6, 12).flip(1)
    whole = rk.linear_logprobs(x["hidden"], x["weight"], x["targets"], bias=x["bias"], entropy=True)
    kept = rk.kept_logprobs(x["hidden"], x["weight"], x["targets"], every, bias=x["bias"], entropy=True, impl="native")
    torch.testing.assert_close(kept, whole)
    some = rk.kept_logprobs(torch.ones(1, 8), x["weight"], torch.tensor([3]), torch.tensor([[1, 2, -1]]), impl="native")
    assert some.tolist() == [-math.inf]


def test_the_number_that_is_ignored_may_be_a_place_among_the_kept() -> None:
    x = problem(6, 8, 12, bias=False)
    kept = torch.arange(11, -1, -1).expand(6, 12)
    for ignored in range(13):
        options = {"ignore_index": ignored, "entropy": True}
        found = [
            rk.kept_logprobs(x["hidden"].nan_to_num(), x["weight"], torch.arange(6) + 3, kept, impl=impl, **options)
            for impl in ("native", "torch")
        ]
        torch.testing.assert_close(*found)


def test_the_gradient_of_kept_rows_does_not_depend_on_threads() -> None:
    hidden, weight = torch.randn(1500, 64), torch.randn(40, 64, requires_grad=True)  # enough for more than one thread
    kept = torch.stack([torch.randperm(40)[:6] for _ in range(1500)])
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            logp = rk.kept_logprobs(hidden, weight, kept[:, 2], kept, impl="native")
            found.append(torch.autograd.grad(logp.sum(), weight)[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
