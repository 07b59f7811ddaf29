"""Products of bfloat16 into float32 on the CPU, against sums in float64, and where they are used."""

from __future__ import annotations

import math

import pytest
import torch

import rlaif_kernels as rk
from rlaif_kernels import chunked, head, native
from rlaif_kernels.native import product

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not product.able(), reason="this processor has no AVX512_BF16, or the binary no products"),
]

SHAPES = [
    (1, 1, 1),
    (3, 5, 7),
    (12, 32, 32),
    (13, 33, 33),
    (11, 64, 17),
    (25, 1025, 300),
    (7, 2049, 49),
    (40, 3001, 600),
]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_are_as_exact_as_those_of_float32(shape: tuple[int, int, int], bias: bool) -> None:
    rows, width, columns = shape
    x, weight = torch.randn(rows, width).bfloat16(), torch.randn(columns, width).bfloat16()
    start = torch.randn(columns) if bias else None
    said = product.product(x, weight, start)
    wanted = x.double() @ weight.double().T + (0 if start is None else start.double())
    assert said.dtype is torch.float32
    # Of what is summed, the size; each sum goes along 256 numbers, then along the sums.
    size = x.double().abs() @ weight.double().abs().T + 1
    assert bool(((said - wanted).abs() <= 4e-7 * size).all())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_columns_may_lie_side_by_side_instead_of_rows_and_sums_begin_with_what_is_there(
    shape: tuple[int, int, int],
) -> None:
    rows, width, columns = shape
    x, weight = torch.randn(rows, width).bfloat16(), torch.randn(columns, width).bfloat16()
    across, down = (one.T.contiguous().T for one in (x, weight))
    said, start = product.product(x, weight), torch.randn(rows, columns + 3)
    for one in (x, across):
        for other in (weight, down):
            assert product.suits(one, other)
            assert torch.equal(product.product(one, other), said)
            there = start.clone()
            assert product.product(one, other, onto=there[:, :columns]).data_ptr() == there.data_ptr()
            size = x.double().abs() @ weight.double().abs().T + 1
            wanted = start[:, :columns].double() + x.double() @ weight.double().T
            assert bool(((there[:, :columns] - wanted).abs() <= 4e-7 * size).all())
            assert torch.equal(there[:, columns:], start[:, columns:])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_result_may_be_rounded_at_once_if_it_is_made_at_once(shape: tuple[int, int, int]) -> None:
    rows, width, columns = shape
    x, weight = torch.randn(rows, width).bfloat16(), torch.randn(columns, width).bfloat16()
    wide, said = product.product(x, weight), product.product(x, weight, narrow=True)
    assert said.dtype is (torch.bfloat16 if width <= product.NARROW else torch.float32)
    assert torch.equal(said, wide.to(said.dtype))


def test_what_is_added_to_is_not_rounded() -> None:
    x = torch.randn(3, 4).bfloat16()
    sizes = x.data_ptr(), 4, 1, x.data_ptr(), 4, 1, 0
    into = torch.zeros(3, 3)
    for onto, width in ((True, 4), (False, product.NARROW + 2)):
        with pytest.raises(ValueError, match="wide product are not rounded"):
            native.binary.product(*sizes, onto, 3, width, 3, into.data_ptr(), 3, True, 1)


def test_numbers_do_not_depend_on_rows_columns_and_threads_beside_them() -> None:
    x, weight = torch.randn(70, 1500).bfloat16(), torch.randn(900, 1500).bfloat16()
    said = product.product(x, weight, None)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(product.product(x, weight, None), said)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(product.product(x[13:14], weight, None), said[13:14])
    assert torch.equal(product.product(x, weight[123:200], None), said[:, 123:200])


def test_rows_may_lie_apart_and_what_lies_between_is_not_read() -> None:
    x, weight = torch.randn(30, 40).bfloat16(), torch.randn(50, 40).bfloat16()
    far, broad = (torch.full((2 * len(one), 47), math.nan, dtype=torch.bfloat16) for one in (x, weight))
    far[::2, 3:43], broad[::2, 5:45] = x, weight
    assert product.suits(far[::2, 3:43], broad[::2, 5:45])
    said = product.product(far[::2, 3:43], broad[::2, 5:45], None)
    assert torch.equal(said, product.product(x, weight, None))
    far, broad = (torch.full((2 * one.shape[1], len(one) + 7), math.nan, dtype=torch.bfloat16) for one in (x, weight))
    far[::2, 2:32], broad[::2, 5:55] = x.T, weight.T
    assert product.suits(far[::2, 2:32].T, broad[::2, 5:55].T)
    assert torch.equal(said, product.product(far[::2, 2:32].T, broad[::2, 5:55].T))


def test_nan_and_infinity_stay_in_their_row_and_column() -> None:
    x, weight = torch.ones(14, 40).bfloat16(), torch.ones(35, 40).bfloat16()
    x[5, 7], weight[33, 0] = math.nan, math.inf
    said = product.product(x, weight, None)
    assert bool(said[5].isnan().all())
    rest = said[torch.arange(14) != 5]
    assert bool((rest[:, 33] == math.inf).all())
    assert bool((rest[:, torch.arange(35) != 33] == 40).all())


def test_what_it_cannot_do_is_left_to_torch() -> None:
    x, weight = torch.randn(3, 8).bfloat16(), torch.randn(4, 8).bfloat16()
    assert product.suits(x, weight)
    for one, other in (
        (x.half(), weight.half()),
        (x.float(), weight),
        (x.repeat_interleave(2, 1)[:, ::2], weight),
        (x[:, :0], weight[:, :0]),
        (x.to("meta"), weight),
    ):
        assert not product.suits(one, other)
    with rk.using("torch"):
        assert not product.suits(x, weight)


@pytest.mark.parametrize("stash", [0, chunked.STASH], ids=["again", "kept"])
def test_gradients_are_off_by_the_rounding_of_what_flows_to_the_logits(
    stash: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked, "STASH", stash)
    monkeypatch.setitem(chunked.BLOCK, "cpu", 8192)
    hidden, weight = torch.randn(70, 40).bfloat16(), torch.randn(300, 40).bfloat16()
    targets, slope = torch.randint(300, (70,)), torch.randn(70)
    leaves = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    found = torch.autograd.grad((rk.linear_logprobs(*leaves, targets, impl="native") * slope).sum(), leaves)
    chances = (hidden.double() @ weight.double().T).softmax(-1)
    flow = (torch.nn.functional.one_hot(targets, 300) - chances) * slope.double()[:, None]
    for one, left, right in ((found[0], flow, weight.double()), (found[1], flow.T, hidden.double())):
        wanted, size = left @ right, left.abs() @ right.abs()
        # Half a unit in the eighth binary digit: each summand's, then the result's.
        assert bool(((one.double() - wanted).abs() <= 1.01 * 2**-8 * (size + wanted.abs()) + 1e-6).all())
    exact = [(flow @ weight.double()), (flow.T @ hidden.double())]
    for one, wanted in zip(found, exact, strict=True):  # and as these fall to both sides, far less
        assert float((one.double() - wanted).norm() / wanted.norm()) < 2**-8


def test_the_output_layer_multiplies_so(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight = torch.randn(9, 64).bfloat16(), torch.randn(500, 64).bfloat16()
    targets, seen = torch.randint(500, (9,)), []
    real = product.product
    monkeypatch.setattr(product, "product", lambda *given, **how: seen.append(len(given)) or real(*given, **how))
    said = rk.linear_logprobs(hidden, weight, targets)
    assert seen
    monkeypatch.setattr(product, "able", lambda: False)
    assert head.Head(weight, None).logits(hidden, slice(None)).dtype is torch.float32
    torch.testing.assert_close(rk.linear_logprobs(hidden, weight, targets), said, rtol=1e-6, atol=1e-6)
