"""Log-probs and entropies in C++ against the definition in float64, there and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
from memory import peak
from rlaif_kernels import native, reference
from rlaif_kernels.dispatch import Impl
from rlaif_kernels.rows import asked

pytestmark = pytest.mark.native

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "temperature": {"temperature": 0.7},
    "scale": {"scale": -1.3},
    "softcap": {"softcap": 3.0, "scale": 0.8, "temperature": 1.7},
}


if native.missing is None:
    from rlaif_kernels.native import logprobs


@pytest.fixture(params=native.binary.variants() if native.missing is None else ["none"])
def _variant(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once with each of the instruction sets that this processor has."""
    monkeypatch.setattr(logprobs, "variant", request.param)


def problem(rows: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    """Logits [rows, vocabulary] and targets, a fifth of them ignored."""
    targets = torch.randint(vocabulary, (rows,)).masked_fill(torch.rand(rows) < 0.2, -100)
    return torch.randn(rows, vocabulary) * 5, targets


def both_ways(
    run: Any, logits: Tensor, targets: Tensor, layout: Callable[[Tensor], Tensor] = lambda x: x, **options: Any
) -> list[Tensor]:
    """Log-probs, entropies and the gradient of a sum of both, each weighed by its place. `layout` makes the logits."""
    x = logits.detach().clone().requires_grad_()
    logp, entropy = run(layout(x), targets, entropy=True, **options)
    weights = torch.linspace(-1, 2, logp.numel(), dtype=logp.dtype).view(logp.shape)
    ((logp * weights).sum() + (entropy * weights.flip(0)).sum()).backward()
    return [logp.detach(), entropy.detach(), x.grad]


@pytest.mark.usefixtures("_variant")
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (5, 17), (40, 1000), (9, 4096), (0, 7)], ids=str)
@pytest.mark.parametrize("case", OPTIONS)
def test_values_and_gradients_are_those_of_float64(case: str, shape: tuple[int, int]) -> None:
    logits, targets = problem(*shape)
    said = both_ways(logprobs.token_logprobs, logits, targets, **OPTIONS[case])
    exact = both_ways(reference.token_logprobs, logits.double(), targets, **OPTIONS[case])
    for one, other in zip(said, exact, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
    alone = logprobs.token_logprobs(logits, targets, **OPTIONS[case])
    assert isinstance(alone, Tensor)
    assert torch.equal(alone, said[0])


@pytest.mark.usefixtures("_variant")
def test_errors_are_no_larger_than_those_of_torch() -> None:
    logits, targets = problem(64, 32000)
    exact = both_ways(reference.token_logprobs, logits.double(), targets)
    ours = both_ways(logprobs.token_logprobs, logits, targets)
    torchs = both_ways(reference.token_logprobs, logits, targets)
    for mine, other, wanted in zip(ours, torchs, exact, strict=True):
        worst = [float((one.double() - wanted).abs().max()) for one in (mine, other)]
        assert worst[0] <= 4 * worst[1] + 1e-7


def test_only_one_of_the_two_may_be_descended() -> None:
    logits, targets = problem(8, 50)
    for chosen in (0, 1):
        x, y = logits.clone().requires_grad_(), logits.double().requires_grad_()
        rk.token_logprobs(x, targets, entropy=True, impl="native")[chosen].sum().backward()
        reference.token_logprobs(y, targets, entropy=True)[chosen].sum().backward()
        torch.testing.assert_close(x.grad.double(), y.grad, rtol=1e-5, atol=1e-6)


LAYOUTS: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "all but the last": ((3, 7, 40), lambda x: x[:, :-1]),
    "every other": ((3, 12, 40), lambda x: x[:, ::2]),
    "part of a wider row": ((3, 6, 90), lambda x: x[..., 20:60]),
    "every other logit": ((3, 6, 80), lambda x: x[..., ::2]),
    "transposed": ((40, 3, 6), lambda x: x.permute(1, 2, 0)),
    "the same for all": ((40,), lambda x: x.expand(3, 6, 40)),
    "overlapping": ((60,), lambda x: x.as_strided((3, 6, 40), (6, 1, 1))),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_any_layout_of_logits(case: str) -> None:
    shape, layout = LAYOUTS[case]
    logits, targets = torch.randn(shape) * 3, torch.randint(40, (6, 3)).T  # whose rows are not next to each other
    said = both_ways(logprobs.token_logprobs, logits, targets, layout)
    exact = both_ways(reference.token_logprobs, logits.double(), targets, layout)
    for one, other in zip(said, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
    flat = both_ways(logprobs.token_logprobs, torch.randn(9, 40), torch.randint(40, (18,))[::2])
    assert all(one.isfinite().all() for one in flat)


TEMPERATURES: dict[str, Callable[[], Tensor]] = {
    "one": lambda: torch.tensor(2.0),
    "one for all": lambda: torch.tensor([2.0]).expand(6),
    "every other": lambda: torch.linspace(0.5, 3, 12)[::2],
    "float64": lambda: torch.linspace(0.5, 3, 6).double(),
    "negative view": lambda: torch._neg_view(-torch.linspace(0.5, 3, 6)),
}


@pytest.mark.parametrize("case", TEMPERATURES)
@pytest.mark.parametrize("shape", [(6,), (4, 6)], ids=str)
def test_a_temperature_a_token(shape: tuple[int, ...], case: str) -> None:
    logits, targets, temperature = torch.randn(*shape, 40) * 3, torch.randint(40, shape), TEMPERATURES[case]()
    said = both_ways(logprobs.token_logprobs, logits, targets, temperature=temperature)
    exact = both_ways(reference.token_logprobs, logits.double(), targets, temperature=temperature.double())
    for one, other in zip(said, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_gradients_that_come_back_in_any_layout() -> None:
    x, targets = torch.randn(6, 40, requires_grad=True), torch.randint(40, (6,))
    weights = torch.randn(6)
    for given in (torch._neg_view(weights), torch.randn(12)[::2], torch.tensor(2.0).expand(6)):
        ours, torchs = (
            torch.autograd.grad(rk.token_logprobs(x, targets, impl=impl), x, given)[0] for impl in ("native", "torch")
        )
        torch.testing.assert_close(ours, torchs)


@pytest.mark.parametrize("cap", [1e-3, 30.0, 1e4, 1e8])
def test_a_cap_of_any_size_costs_no_accuracy(cap: float) -> None:
    logits, targets = problem(20, 500)
    exact = both_ways(reference.token_logprobs, logits.double(), targets, softcap=cap)
    ours, torchs = (
        both_ways(run, logits, targets, softcap=cap) for run in (logprobs.token_logprobs, reference.token_logprobs)
    )
    for mine, other, wanted in zip(ours, torchs, exact, strict=True):
        worst = [float((one.double() - wanted).abs().max()) for one in (mine, other)]
        assert worst[0] <= 4 * worst[1] + 2e-6


@pytest.mark.usefixtures("_variant")
def test_many_small_terms_are_not_lost() -> None:
    logits = torch.full((2, 200_000), -0.35)
    logits[:, 7] = 0
    exact = reference.token_logprobs(logits.double(), torch.tensor([7, 8]), entropy=True)
    for one, other in zip(logprobs.token_logprobs(logits, torch.tensor([7, 8]), entropy=True), exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=2e-5)


@pytest.mark.filterwarnings("ignore:There is a performance drop", "ignore:`torch.jit.script` is deprecated")
def test_transforms_of_torch_go_by_the_definition() -> None:
    logits, targets = torch.randn(4, 9), torch.tensor([1, 0, 8, 3])

    def run(x: Tensor) -> Tensor:
        return rk.token_logprobs(x, targets).exp().sum()

    def exact(x: Tensor) -> Tensor:
        return reference.token_logprobs(x, targets).exp().sum()

    for transform in (torch.func.grad, torch.func.jacrev, torch.func.hessian):
        torch.testing.assert_close(transform(run)(logits), transform(exact)(logits))
    tangents = torch.func.jvp(run, (logits,), (logits,)), torch.func.jvp(exact, (logits,), (logits,))
    torch.testing.assert_close(*tangents)
    x = logits.clone().requires_grad_()
    ways = torch.eye(4)
    several = torch.autograd.grad(rk.token_logprobs(x, targets), x, ways, is_grads_batched=True)[0]
    for row, gradient in zip(ways, several, strict=True):
        torch.testing.assert_close(torch.autograd.grad(rk.token_logprobs(x, targets), x, row)[0], gradient)


@pytest.mark.usefixtures("_variant")
def test_a_row_depends_neither_on_the_others_nor_on_the_threads() -> None:
    logits, targets = problem(60, 20_003)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        said = both_ways(logprobs.token_logprobs, logits, targets)
        for threads in (2, 3, 7):
            torch.set_num_threads(threads)
            again = both_ways(logprobs.token_logprobs, logits, targets)
            assert all(map(torch.equal, again, said))
    finally:
        torch.set_num_threads(before)
    for row in range(0, 60, 7):
        alone = logprobs.token_logprobs(logits[row], targets[row], entropy=True)
        assert [float(one) for one in alone] == [float(one[row]) for one in said[:2]]


@pytest.mark.usefixtures("_variant")
def test_what_is_ignored_may_hold_anything() -> None:
    logits, targets = problem(12, 33)
    targets[3] = -100
    dirty = logits.clone()
    dirty[targets == -100] = math.nan
    clean, other = (both_ways(logprobs.token_logprobs, x, targets) for x in (logits, dirty))
    assert all(map(torch.equal, clean, other))
    assert not clean[2][3].any()


@pytest.mark.usefixtures("_variant")
def test_what_is_not_finite_comes_out_as_by_definition() -> None:
    logits, targets = problem(6, 40)
    logits[0, 7] = logits[1, 30] = -math.inf  # no probability
    logits[2, 3], logits[3, 39], logits[4, 8] = math.nan, math.nan, math.inf
    logits[5] = -math.inf
    targets = torch.tensor([0, 30, 5, 5, 5, 5])
    x = logits.requires_grad_()
    said = logprobs.token_logprobs(x, targets, entropy=True)
    wanted = reference.token_logprobs(x, targets, entropy=True)
    torch.testing.assert_close(said, wanted, equal_nan=True)
    assert said[0][1] == -math.inf
    (gradient,) = torch.autograd.grad(said[0][:1].sum() + said[1][:1].sum(), x)
    assert gradient[0].isfinite().all()
    assert gradient[0, 7] == 0


@pytest.mark.usefixtures("_variant")
def test_far_and_peaked_logits_lose_nothing() -> None:
    logits = torch.tensor([[100.0, 75.0, 74.0], [1e4, 1e4 - 1, -1e4], [-3e38, 3e38, 0.0]])
    targets = torch.tensor([0, 1, 1])
    said = logprobs.token_logprobs(logits, targets, entropy=True)
    wanted = reference.token_logprobs(logits.double(), targets, entropy=True)
    torch.testing.assert_close(said[0].double(), wanted[0], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(said[1].double(), wanted[1], rtol=0.05, atol=0)


@pytest.mark.usefixtures("_variant")
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("far", [19.0, -3e3, 3e6, 1e9, -1e25, 3.2e38, torch.finfo(torch.float32).min], ids=str)
def test_what_all_logits_have_in_common_costs_nothing(far: float, temperature: float) -> None:
    step = max(0.125, abs(far) * torch.finfo(torch.float32).eps * 2)  # so that sums with `far` are exact
    steps = torch.randint(60 if step < 1 else 2, (6, 3000)) * (step if far > 0 else -step)
    steps[0], steps[0, 2] = 0, step  # those whose probabilities are the same, but for one
    logits = steps + far
    if step < 1:
        logits[1, 77] += 40.0  # that whose probability is nearly 1
    targets = torch.tensor([3, 77, 1, 2, 3, 4])
    ours = both_ways(logprobs.token_logprobs, logits, targets, temperature=temperature)
    exact = both_ways(reference.token_logprobs, logits.double(), targets, temperature=temperature)
    bound = {"rtol": 1e-6, "atol": 2e-7} if step < 1 else {"rtol": 1e-5, "atol": 1e-6}
    for one, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(one.double(), other, **bound)


@pytest.mark.usefixtures("_variant")
@pytest.mark.parametrize("without", [600, 5000, 16384])
def test_logits_far_below_zero_may_follow_those_without_probability(without: int) -> None:
    logits = torch.randn(1, without + 4000) - 5000
    logits[:, :without] = -math.inf
    targets = torch.tensor([without + 9])
    ours, exact = (
        both_ways(logprobs.token_logprobs, logits, targets),
        both_ways(reference.token_logprobs, logits.double(), targets),
    )
    for one, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)


def test_no_columns_make_a_state_of_nothing() -> None:
    logits, targets = torch.randn(3, 40), torch.tensor([4, -100, 39])
    rows = asked(targets, 1.0, None, 1.0, -100)
    state = logprobs.fold(logits, rows, 0, logprobs.fold(logits[:, :0], rows, 0, None))
    said = logprobs.finish(state, rows, True)
    torch.testing.assert_close(said[:2], reference.token_logprobs(logits, targets, entropy=True))


def test_what_cannot_be_computed_here_is_left_to_torch_or_refused() -> None:
    logits, targets = problem(4, 9)
    warm = torch.full((4,), 2.0, requires_grad=True)
    rk.token_logprobs(logits, targets, temperature=warm).sum().backward()
    assert warm.grad is not None
    with pytest.raises(rk.ImplementationError, match="has no gradient with respect to the temperature"):
        rk.token_logprobs(logits, targets, temperature=warm, impl="native")
    scale = torch.tensor(1.3, requires_grad=True)
    rk.token_logprobs(logits, targets, scale=scale).sum().backward()
    assert scale.grad is not None
    for tiny in ({"softcap": 1e-46}, {"temperature": 1e-39}):
        rk.token_logprobs(logits * 0, targets, **tiny)  # for torch to judge
        with pytest.raises(rk.ImplementationError, match=f"takes a {next(iter(tiny))} between"):
            rk.token_logprobs(logits * 0, targets, **tiny, impl="native")
    nothing = rk.token_logprobs(torch.zeros(2, 0), torch.tensor([-100, -100]), impl="native")
    assert nothing.tolist() == [0, 0]
    assert rk.token_logprobs(logits.double(), targets).dtype == torch.float64
    with pytest.raises(rk.ImplementationError, match=r"bfloat16 or float16 logits and got torch\.float64"):
        rk.token_logprobs(logits.double(), targets, impl="native")
    for target in (-1, 9):
        with pytest.raises(IndexError, match=rf"targets\[1\] is {target}, not in a vocabulary of 9"):
            rk.token_logprobs(logits, torch.tensor([0, target, 1, 2]), impl="native")


@pytest.mark.parametrize("case", OPTIONS)
def test_gradients_can_be_differentiated_again(case: str) -> None:
    logits, targets = problem(6, 20)

    def curvature(x: Tensor, impl: Impl) -> Tensor:
        logp, entropy = rk.token_logprobs(x, targets, entropy=True, impl=impl, **OPTIONS[case])
        (slope,) = torch.autograd.grad(logp.exp().sum() + entropy.square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(slope.square().sum(), x)
        return second

    ours = curvature(logits.clone().requires_grad_(), "native")
    exact = curvature(logits.double().requires_grad_(), "torch")
    torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-5)


def test_logits_that_changed_meanwhile_are_an_error() -> None:
    x = torch.randn(2, 5, requires_grad=True)
    logits = x * 1
    logp = rk.token_logprobs(logits, torch.tensor([1, 2]), impl="native")
    logits.detach().mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logp.sum().backward()


@pytest.mark.usefixtures("_variant")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("case", OPTIONS)
def test_half_precision_is_widened_before_anything_is_summed(case: str, dtype: torch.dtype) -> None:
    for shape in ((3, 2), (5, 17), (7, 1000), (2, 40_000)):
        logits, targets = problem(*shape)
        logits = logits.to(dtype)
        logits[0, :1], logits[-1, -1:] = 0, 1e-7  # a subnormal number of 16 bits
        said = both_ways(logprobs.token_logprobs, logits, targets, **OPTIONS[case])
        exact = both_ways(reference.token_logprobs, logits.double(), targets, **OPTIONS[case])
        assert [one.dtype for one in said] == [torch.float32, torch.float32, dtype]
        for one, other in zip(said[:2], exact[:2], strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=1e-5)
        # The gradient was rounded once, at the end: to the nearest of its neighbours.
        near = exact[2].to(dtype)
        step = torch.finfo(dtype).eps * near.double().abs() + torch.finfo(dtype).smallest_normal * 2**-7
        assert bool(((said[2].double() - exact[2]).abs() <= 0.51 * step + 1e-7).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_every_number_of_16_bits_is_read_and_written_as_torch_does(dtype: torch.dtype) -> None:
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    rows = every[every.isfinite()].unsqueeze(1)
    logp, entropy = logprobs.token_logprobs(rows, torch.zeros(len(rows), dtype=torch.int64), entropy=True)
    assert logp.abs().max() == 0
    assert entropy.abs().max() == 0
    # With two logits, z and 0, the log-prob of the second is -softplus(z). (Below -2.3e38 it comes out as -inf.)
    rows = rows[rows[:, 0] < 2.3e38]
    pairs = torch.cat([rows, torch.zeros_like(rows)], 1)
    said = logprobs.token_logprobs(pairs, torch.ones(len(rows), dtype=torch.int64))
    torch.testing.assert_close(said.double(), -torch.nn.functional.softplus(rows[:, 0].double()), rtol=2e-7, atol=1e-7)
    # The gradient of the log-prob of a token that has probability 1 is rounded from what flows back.
    x = torch.tensor([[0.0, -torch.inf]], dtype=dtype).expand(4001, 2).clone().requires_grad_()
    flows = torch.linspace(-9, 9, 4001).exp2() * torch.tensor([1.0, -1.0]).repeat(2001)[:4001]
    (gradient,) = torch.autograd.grad(logprobs.token_logprobs(x, torch.ones(4001, dtype=torch.int64)), x, flows)
    assert torch.equal(gradient[:, 1], flows.to(dtype))
    assert torch.equal(gradient[:, 0], (-flows).to(dtype))


@pytest.mark.usefixtures("_variant")
def test_the_gradient_can_take_the_place_of_the_logits() -> None:
    for logits in (problem(9, 1003)[0], problem(9, 1003)[0].bfloat16(), problem(9, 1100)[0][:, 40:1043]):
        targets = torch.randint(1003, (9,)).masked_fill(torch.arange(9) == 4, -100)
        x, y = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        weights = torch.randn(9)
        own, other = x * 1, y * 1
        logp, entropy = rk.token_logprobs(own, targets, entropy=True, inplace_backward=True, impl="native")
        (logp * weights + entropy).sum().backward()
        logp, entropy = rk.token_logprobs(other, targets, entropy=True, impl="native")
        (logp * weights + entropy).sum().backward()
        assert torch.equal(x.grad, y.grad)
        assert torch.equal(own, x.grad)


def test_rows_in_one_place_are_not_overwritten() -> None:
    row, targets, found = torch.randn(1, 40), torch.arange(4), []
    for inplace in (False, True):
        leaf = row.clone().requires_grad_()
        logits = (leaf * 1).expand(4, 40)
        rk.token_logprobs(logits, targets, inplace_backward=inplace, impl="native").sum().backward()
        found.append(leaf.grad)
    assert torch.equal(*found)


def test_numbers_that_are_negated_when_they_are_read() -> None:
    x, targets = torch._neg_view(torch.randn(3, 9)), torch.tensor([1, 0, 8])
    torch.testing.assert_close(rk.token_logprobs(x, targets), reference.token_logprobs(x, targets))
    with pytest.raises(rk.ImplementationError, match="needs dense tensors"):
        rk.token_logprobs(x, targets, impl="native")


def test_who_needs_the_logits_after_all_is_told_that_they_are_gone() -> None:
    x, targets = torch.randn(4, 9, requires_grad=True), torch.tensor([1, 0, 8, 3])
    logits = x * 1
    logp = rk.token_logprobs(logits, targets, inplace_backward=True)
    other = logits.exp()
    squares = (logits * logits).sum()
    logp.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logp.sum().backward()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        squares.backward()
    other.sum().backward()  # which kept its result, not the logits


@pytest.mark.usefixtures("_variant")
def test_logits_of_any_size_wherever_they_stand() -> None:
    """Blocks that dwarf all before them, that vanish beside them, and rows that begin with no probability at all."""
    logits = torch.randn(6, 60_000)
    logits[0, 30_000:] += 300
    logits[1, 30_000:] -= 300
    logits[2, :40_000] = -torch.inf
    logits[3, :40_000] = -3.4e38
    logits[4, 12_345] = 500
    logits[5] = torch.linspace(-400, 400, 60_000)
    targets = torch.tensor([40_000, 5, 50_000, 50_000, 12_345, 59_999])
    said = rk.token_logprobs(logits, targets, entropy=True, impl="native")
    exact = reference.token_logprobs(logits.double(), targets, entropy=True)
    for one, other in zip(said, exact, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=1e-6)


def test_nothing_of_the_logits_size_is_made_but_their_gradient_and_in_place_not_even_that() -> None:
    whole = torch.randn(4, 33, 5000, requires_grad=True)
    logits = 4 * 4 * 32 * 5000
    targets = torch.randint(5000, (4, 32))

    def forward() -> Tensor:
        return rk.token_logprobs(whole[:, :-1], targets, entropy=True)[0]

    with torch.no_grad():
        assert peak(forward) < logits / 100
    assert peak(forward) < logits / 100  # no copy is kept for the way back
    leaf = torch.randn(4, 33, 5000)[:, :-1].requires_grad_()
    for inplace in (False, True):
        logp = rk.token_logprobs(leaf, targets, inplace_backward=inplace)
        most = peak(lambda logp=logp: torch.autograd.grad(logp.sum(), leaf))
        assert most < logits / 100 if inplace else logits <= most < 1.01 * logits
