"""Log-probs, entropies and their gradient in CUDA against the definition in float64, on the emulator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_kernels import cuda, reference
from rlaif_kernels.cuda import logprobs
from rlaif_kernels.rows import Rows

pytestmark = pytest.mark.usefixtures("emulator")

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "temperature and scale": {"temperature": 0.7, "scale": -1.3},
    "softcap": {"softcap": 3.0, "scale": 0.8, "temperature": 1.7},
}
HALVES = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
BUDGET = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=["a block a row", "several blocks a row"])
def _sharing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "FEW", 0 if request.param == "a block a row" else 10**9)


def problem(rows: int, vocabulary: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Logits [rows, vocabulary] and targets, a fifth of them ignored."""
    targets = torch.randint(vocabulary, (rows,)).masked_fill(torch.rand(rows) < 0.2, -100)
    return (torch.randn(rows, vocabulary) * 5).to(dtype), targets


def both_ways(
    logits: Tensor,
    targets: Tensor,
    layout: Callable[[Tensor], Tensor] = lambda x: x,
    impl: Any = "cuda",
    **options: Any,
) -> list[Tensor]:
    """Log-probs, entropies and the gradient of a sum of both, each weighed by its place. `layout` makes the logits."""
    x = logits.detach().clone().requires_grad_()
    logp, entropy = rk.token_logprobs(layout(x), targets, entropy=True, impl=impl, **options)
    weights = torch.linspace(-1, 2, logp.numel(), dtype=logp.dtype).view(logp.shape)
    ((logp * weights).sum() + (entropy * weights.flip(0)).sum()).backward()
    assert x.grad is not None
    return [logp.detach(), entropy.detach(), x.grad]


def agree(ours: list[Tensor], exact: list[Tensor], gradient: float = 0.0) -> None:
    """`gradient`: what its own rounding adds."""
    for one, other, more in zip(ours, exact, (0.0, 0.0, gradient), strict=True):
        budget = {name: limit + more for name, limit in BUDGET.items()}
        torch.testing.assert_close(one.double(), other, **budget, equal_nan=True)


@pytest.mark.usefixtures("_sharing")
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (5, 17), (3, 4096), (2, 8193), (2, 20_000), (0, 7)], ids=str)
@pytest.mark.parametrize("case", OPTIONS)
def test_values_and_gradients_are_those_of_float64(case: str, shape: tuple[int, int]) -> None:
    logits, targets = problem(*shape)
    ours = both_ways(logits, targets, **OPTIONS[case])
    assert all(one.dtype == torch.float32 for one in ours)
    agree(ours, both_ways(logits.double(), targets, impl="torch", **OPTIONS[case]))
    alone = rk.token_logprobs(logits, targets, impl="cuda", **OPTIONS[case])
    assert torch.equal(alone, ours[0])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("shape", [(3, 13), (3, 9000)], ids=str)
@pytest.mark.parametrize("case", OPTIONS)
def test_half_precision_is_widened_before_anything_is_summed(
    case: str, shape: tuple[int, int], dtype: torch.dtype
) -> None:
    logits, targets = problem(*shape, dtype)
    ours = both_ways(logits, targets, **OPTIONS[case])
    assert ours[0].dtype == torch.float32
    assert ours[2].dtype == dtype
    agree(ours, both_ways(logits.double(), targets, impl="torch", **OPTIONS[case]), HALVES[dtype])


LAYOUTS: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "all but the last": ((3, 4, 40), lambda x: x[:, :-1]),
    "part of a wider row": ((3, 3, 90), lambda x: x[..., 19:59]),
    "every other logit": ((3, 3, 80), lambda x: x[..., ::2]),
    "transposed": ((40, 3, 3), lambda x: x.permute(1, 2, 0)),
    "the same for all": ((40,), lambda x: x.expand(3, 3, 40)),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_any_layout_of_logits(case: str) -> None:
    shape, layout = LAYOUTS[case]
    logits, targets = torch.randn(shape) * 3, torch.randint(40, (3, 3)).T  # whose rows are not next to each other
    agree(both_ways(logits, targets, layout), both_ways(logits.double(), targets, layout, "torch"))


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
@pytest.mark.parametrize("offset", [1, 3, 8])
def test_where_rows_lie_changes_no_bit_and_nothing_beside_them_is_touched(dtype: torch.dtype, offset: int) -> None:
    logits, targets = problem(3, 9001, dtype)
    wide = torch.full((3, 9001 + 20), math.nan, dtype=dtype)
    wide[:, offset : offset + 9001] = logits
    x = wide[:, offset : offset + 9001]
    wanted = both_ways(logits, targets)
    rows = Rows(targets, -100, 1.0, 1.0, 0.0, None)
    said = logprobs.forward(x, rows, entropy=True)
    assert torch.equal(said.logp, wanted[0])
    assert torch.equal(said.entropy, wanted[1])
    weights = torch.linspace(-1, 2, 3)
    logprobs.descend(x, rows, 0, said, weights, weights.flip(0), x)
    assert torch.equal(x, wanted[2])
    wide[:, offset : offset + 9001] = math.nan
    assert bool(wide.isnan().all())


def test_a_row_does_not_depend_on_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = problem(5, 20_000)
    targets[1] = 7
    monkeypatch.setattr(cuda, "FEW", 4)
    many = both_ways(logits, targets)
    monkeypatch.setattr(cuda, "FEW", 5)
    shared = both_ways(logits, targets)
    assert all(map(torch.equal, many, shared))
    alone = rk.token_logprobs(logits[1], targets[1], entropy=True, impl="cuda")
    assert [float(one) for one in alone] == [float(one[1]) for one in many[:2]]


@pytest.mark.usefixtures("_sharing")
def test_the_order_of_threads_and_blocks_changes_no_bit(emulator: Any) -> None:
    logits, targets = problem(3, 17_000)
    forth = both_ways(logits, targets, **OPTIONS["softcap"])
    emulator.turn_round(True)
    assert all(map(torch.equal, forth, both_ways(logits, targets, **OPTIONS["softcap"])))


@pytest.mark.usefixtures("_sharing")
def test_what_is_ignored_is_not_read() -> None:
    logits, targets = problem(6, 9000)
    targets[3] = -100
    dirty = logits.masked_fill((targets == -100)[:, None], math.nan)
    temperature = torch.linspace(0.5, 2, 6)
    clean = both_ways(logits, targets, temperature=temperature)
    other = both_ways(dirty, targets, temperature=temperature.masked_fill(targets == -100, math.nan))
    assert all(map(torch.equal, clean, other))
    assert not any(bool(one[3].any()) for one in clean)


@pytest.mark.usefixtures("_sharing")
def test_what_is_not_finite_comes_out_as_by_definition() -> None:
    logits = torch.randn(7, 9000)
    logits[0, 7] = logits[1, 8500] = -math.inf  # no probability
    logits[2, 3], logits[3, 8999], logits[4, 8] = math.nan, math.nan, math.inf
    logits[5], logits[6, :8192] = -math.inf, -math.inf
    targets = torch.tensor([0, 8500, 5, 5, 5, 5, 8200])
    ours, wanted = (both_ways(logits.to(dtype), targets, impl=impl) for dtype, impl in
                    ((torch.float32, "cuda"), (torch.float64, "torch")))  # fmt: skip
    agree(ours, wanted)
    assert ours[0][1] == -math.inf
    assert ours[2][0].isfinite().all()


@pytest.mark.usefixtures("_sharing")
def test_whole_pieces_may_be_forbidden_by_the_least_number() -> None:
    logits, targets = torch.randn(2, 9000), torch.tensor([8999, 3])
    logits[0, :8500] = logits[1, 8000:] = torch.finfo(torch.float32).min
    found = []
    for dtype, impl in ((torch.float32, "cuda"), (torch.float64, "torch")):
        x = logits.to(dtype).requires_grad_()
        logp, entropy = rk.token_logprobs(x, targets, entropy=True, impl=impl)
        found.append([logp.detach(), entropy.detach(), *torch.autograd.grad((logp + 10 * entropy).sum(), x)])
    agree(*found)


@pytest.mark.usefixtures("_sharing")
@pytest.mark.parametrize("target", [-1, 9000, 2**40])
def test_a_target_outside_the_vocabulary_has_no_log_prob_and_hurts_no_other_row(target: int) -> None:
    logits, targets = torch.randn(3, 9000), torch.tensor([4, target, 8999])
    ours = both_ways(logits, targets)
    inside = both_ways(logits, torch.tensor([4, 5, 8999]))
    for one, other in zip(ours, inside, strict=True):
        assert torch.equal(one[[0, 2]], other[[0, 2]])
    assert ours[0][1].isnan()
    assert torch.equal(ours[1], inside[1])
    assert bool(ours[2][1].isnan().all())


@pytest.mark.usefixtures("_sharing")
@pytest.mark.parametrize("width", [1, 100, 9001])
def test_a_vocabulary_may_come_in_blocks_of_columns(width: int) -> None:
    columns = 2 * width + 1
    logits, targets = problem(4, columns)
    rows = Rows(targets, -100, 0.9, 1.1, 4.0, None)
    whole = logprobs.forward(logits, rows, entropy=True)
    state, gradient = None, torch.empty_like(logits)
    for first in range(0, columns, width):
        state = logprobs.fold(logits[:, first : first + width], rows, first, state)
    assert state is not None
    said = logprobs.finish(state, rows, entropy=True)
    for one, other in zip(said, whole, strict=True):
        torch.testing.assert_close(one, other, **BUDGET)
    slopes = torch.randn(4), torch.randn(4)
    for first in range(0, columns, width):
        block = slice(first, first + width)
        logprobs.descend(logits[:, block], rows, first, whole, *slopes, gradient[:, block])
    again = torch.empty_like(logits)
    logprobs.descend(logits, rows, 0, whole, *slopes, again)
    assert torch.equal(gradient, again)
    assert logprobs.finish(state, rows, entropy=False).entropy is None


def test_only_one_of_the_two_may_be_descended() -> None:
    logits, targets = problem(4, 50)
    for chosen in (0, 1):
        x, y = logits.clone().requires_grad_(), logits.double().requires_grad_()
        rk.token_logprobs(x, targets, entropy=True, impl="cuda")[chosen].sum().backward()
        reference.token_logprobs(y, targets, entropy=True)[chosen].sum().backward()
        torch.testing.assert_close(x.grad.double(), y.grad, **BUDGET)


def test_the_gradient_may_take_the_place_of_the_logits() -> None:
    logits, targets = problem(4, 9000)
    wanted = both_ways(logits, targets)[2]
    x = logits.clone().requires_grad_()
    z = x * 1
    weights = torch.linspace(-1, 2, 4)
    logp, entropy = rk.token_logprobs(z, targets, entropy=True, inplace_backward=True, impl="cuda")
    ((logp * weights).sum() + (entropy * weights.flip(0)).sum()).backward()
    assert torch.equal(x.grad, wanted)
    assert torch.equal(z.detach(), wanted)


def test_gradients_can_be_differentiated_again() -> None:
    logits, targets = problem(4, 20)

    def curvature(x: Tensor, impl: Any) -> Tensor:
        logp, entropy = rk.token_logprobs(x, targets, entropy=True, impl=impl, **OPTIONS["softcap"])
        (slope,) = torch.autograd.grad(logp.exp().sum() + entropy.square().sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x)[0]

    ours, exact = (curvature(logits.to(dtype).requires_grad_(), impl) for dtype, impl in
                   ((torch.float32, "cuda"), (torch.float64, "torch")))  # fmt: skip
    torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-5)


def test_small_terms_and_far_logits_lose_nothing() -> None:
    logits = torch.full((2, 100_000), -0.35)
    logits[:, 7] = 0
    for x, targets in (
        (logits, torch.tensor([7, 8])),
        (torch.tensor([[100.0, 75.0, 74.0], [1e4, 1e4 - 1, -1e4], [-3e38, 3e38, 0.0]]), torch.tensor([0, 1, 1])),
    ):
        ours = rk.token_logprobs(x, targets, entropy=True, impl="cuda")
        exact = reference.token_logprobs(x.double(), targets, entropy=True)
        for one, other in zip(ours, exact, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=1e-6, atol=1e-6)
