"""Linear layers by oneDNN: the base class's values and gradients, its fallbacks, and nothing else changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rlaif_kernels as rk
from rlaif_kernels import dense

needs_onednn = pytest.mark.skipif(dense.hindrance() is not None, reason=f"Dense is Linear here: {dense.hindrance()}")
ROUNDING = torch.finfo(torch.float32).eps


def layer(inputs: int = 24, outputs: int = 40, bias: bool = True) -> rk.Dense:
    return rk.Dense(inputs, outputs, bias=bias)


def assert_close_to_exact(got: Tensor, exact: Tensor, terms: int) -> None:
    """Within what float32 loses over that many terms: a small multiple of sqrt(terms) roundings of the typical size."""
    assert got.dtype == torch.float32
    assert got.shape == exact.shape
    error, size = (got.detach().double() - exact.detach()).abs().max(), exact.detach().abs().max()
    assert float(error) <= 8 * ROUNDING * terms**0.5 * float(size)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of what oneDNN computes while the test runs."""
    seen: list[tuple[int, ...]] = []
    inner = dense._product

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        result = inner(x, weight, bias)
        seen.append(tuple(result.shape))
        return result

    monkeypatch.setattr(dense, "_product", counted)
    return seen


@pytest.fixture(params=[False, True], ids=["Zen 4", "Zen 5"])
def wide(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways to the gradients, whatever this processor's own is."""
    monkeypatch.setattr(dense, "_wide", lambda: request.param)
    return bool(request.param)


INPUTS: dict[str, Callable[[], Tensor]] = {
    "vector": lambda: torch.randn(24),
    "one row": lambda: torch.randn(1, 24),
    "matrix": lambda: torch.randn(7, 24),
    "batch": lambda: torch.randn(3, 5, 24),
    "four dimensions": lambda: torch.randn(2, 3, 5, 24),
    "strided": lambda: torch.randn(7, 48)[:, ::2],
    "transposed": lambda: torch.randn(24, 7).t(),
    "permuted": lambda: torch.randn(5, 24, 3).permute(2, 0, 1),
    "expanded": lambda: torch.randn(24).expand(4, 24),
    "offset": lambda: torch.randn(9, 24)[2:],
    "negative view": lambda: torch.view_as_complex(torch.randn(4, 24, 2)).conj().imag,
    "no rows": lambda: torch.randn(0, 24),
    "no rows of several": lambda: torch.randn(3, 0, 24),
}


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", INPUTS)
@pytest.mark.parametrize("outputs", [40, 8])
def test_values_and_gradients_are_those_of_float64(shape: str, bias: bool, outputs: int) -> None:
    ours, x = layer(24, outputs, bias), INPUTS[shape]()
    exact = nn.Linear(24, outputs, bias=bias).double()
    exact.load_state_dict(ours.state_dict())
    x, wide = x.requires_grad_(), x.detach().double().requires_grad_()
    got, wanted = ours(x), exact(wide)
    if got.numel():
        assert_close_to_exact(got, wanted, terms=24)
    slope = torch.randn(got.shape)
    got.backward(slope)
    wanted.backward(slope.double())
    rows = max(got.numel() // outputs, 1)
    for terms, mine, its in [
        (outputs, x.grad, wide.grad),
        *((rows, p.grad, q.grad) for p, q in zip(ours.parameters(), exact.parameters(), strict=True)),
    ]:
        assert mine is not None
        assert its is not None
        if mine.numel():
            assert_close_to_exact(mine, its, terms)


@pytest.mark.usefixtures("wide")
def test_a_bias_may_lie_apart() -> None:
    x, weight, bias = torch.randn(3, 24), torch.randn(40, 24), torch.randn(80)[::2]
    torch.testing.assert_close(dense.product(x, weight, bias), nn.functional.linear(x, weight, bias))


@pytest.mark.parametrize("wanted", ["x", "weight", "bias", "weight bias", "x bias"])
def test_only_what_is_asked_for_gets_a_gradient(wanted: str) -> None:
    ours, x = layer(), torch.randn(5, 24)
    named = {"x": x, "weight": ours.weight, "bias": ours.bias}
    for name, tensor in named.items():
        tensor.requires_grad_(name in wanted.split())
    ours(x).square().sum().backward()
    assert {name for name, tensor in named.items() if tensor.grad is not None} == set(wanted.split())


def test_a_frozen_layer_between_others_passes_the_gradient_on() -> None:
    first, frozen = layer(24, 24), layer(24, 8).requires_grad_(False)
    frozen(first(torch.randn(3, 24))).sum().backward()
    assert first.weight.grad is not None
    assert first.weight.grad.any()
    assert frozen.weight.grad is None


@pytest.mark.usefixtures("wide")
def test_gradients_can_be_differentiated_again() -> None:
    """The penalty on the norm of an input's gradient, as discriminators use it."""

    def penalty(linear: nn.Linear) -> tuple[Tensor, ...]:
        x = torch.linspace(-1, 1, 72, dtype=linear.weight.dtype).view(3, 24).requires_grad_()
        (slope,) = torch.autograd.grad(linear(x).tanh().sum(), x, create_graph=True)
        assert linear.weight.grad is None
        return torch.autograd.grad(slope.square().sum(), [x, linear.weight, linear.bias])

    ours, exact = layer(), nn.Linear(24, 40).double()
    exact.load_state_dict(ours.state_dict())
    for got, wanted in zip(penalty(ours), penalty(exact), strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-5)


def test_a_weight_tied_to_an_embedding_gathers_both_gradients() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(40, 24), nn.Linear(24, 40, bias=False)
            self.head.weight = self.words.weight

        def forward(self, tokens: Tensor) -> Tensor:
            result: Tensor = self.head(self.words(tokens)).log_softmax(-1)
            return result

    ours = Tied()
    exact = copy.deepcopy(ours).double()
    rk.accelerate(ours)
    tokens = torch.tensor([[3, 1, 3], [0, 39, 2]])
    for module in (ours, exact):
        module(tokens)[..., 7].sum().backward()
    assert ours.head.weight is ours.words.weight
    got, wanted = ours.words.weight.grad, exact.words.weight.grad
    assert got is not None
    assert wanted is not None
    assert_close_to_exact(got, wanted, terms=40)


@needs_onednn
def test_accelerate_turns_plain_linear_layers_and_nothing_else() -> None:
    class Mine(nn.Linear):
        pass

    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), Mine(6, 6), nn.Sequential(nn.Linear(6, 2)), nn.Bilinear(2, 2, 2))
    assert rk.accelerate(model) == 2
    kinds = [type(module) for module in model.modules()]
    assert kinds == [nn.Sequential, rk.Dense, nn.ReLU, Mine, nn.Sequential, rk.Dense, nn.Bilinear]
    assert rk.accelerate(model) == 0
    assert rk.accelerate(nn.Linear(2, 2)) == 1


@needs_onednn
def test_what_goes_through_onednn(products: list[tuple[int, ...]], wide: bool) -> None:
    """Gradients do where it is ahead of MKL with many rows by far."""
    ours, x = layer(), torch.randn(2, 3, 24, requires_grad=True)
    ours(x).sum().backward()
    assert products == [(2, 3, 40), *([(2, 3, 24), (24, 40)] if wide else [])]
    products.clear()
    with torch.no_grad():
        ours(x)
    with torch.inference_mode():
        ours(x)
    assert products == [(2, 3, 40)] * 2


def test_names_copies_and_saved_weights_stay_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(24, 8), nn.Linear(8, 3))
    before, hooked = dict(model.named_parameters()), []
    model[0].register_forward_hook(lambda *_: hooked.append(True))
    rk.accelerate(model)
    after = dict(model.named_parameters())
    assert list(after) == list(before) == list(model.state_dict())
    assert all(after[name] is before[name] for name in before)
    twin, fresh = copy.deepcopy(model), nn.Sequential(nn.Linear(24, 8), nn.Linear(8, 3))
    fresh.load_state_dict(model.state_dict())
    x = torch.randn(5, 24)
    assert torch.equal(twin(x), model(x))
    torch.testing.assert_close(fresh(x), model(x))
    assert len(hooked) == 3
    with torch.no_grad():
        twin[0].weight.zero_()
    assert model[0].weight.any()


def autocast(ours: nn.Module) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result: Tensor = ours(torch.randn(3, 24))
    assert result.dtype == torch.bfloat16
    return result


def subclass(ours: nn.Module) -> Tensor:
    class Tagged(Tensor):
        pass

    result: Tensor = ours(torch.randn(3, 24).as_subclass(Tagged))
    assert type(result) is Tagged
    return result


def fake(ours: nn.Module) -> Tensor:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        result: Tensor = ours(torch.randn(3, 24))
    assert result.shape == (3, 40)
    return result


FALLBACKS: dict[str, Callable[[nn.Module], Tensor]] = {
    "float64": lambda ours: ours.double()(torch.randn(3, 24, dtype=torch.float64)),
    "bfloat16": lambda ours: ours.bfloat16()(torch.randn(3, 24, dtype=torch.bfloat16)),
    "meta": lambda ours: ours.to("meta")(torch.randn(3, 24, device="meta")),
    "no rows": lambda ours: ours(torch.randn(0, 24)),
    "autocast": autocast,
    "subclass": subclass,
    "fake": fake,
}


@pytest.mark.parametrize("case", FALLBACKS)
def test_the_base_class_takes_what_onednn_does_not(case: str, products: list[tuple[int, ...]]) -> None:
    result = FALLBACKS[case](layer())
    assert result.shape[-1] == 40
    assert products == []


def test_wrong_shapes_and_dtypes_are_told_as_by_linear() -> None:
    for bad in (torch.randn(3, 25), torch.randn(3, 24, dtype=torch.float64)):
        with pytest.raises(RuntimeError) as ours:
            layer()(bad)
        with pytest.raises(RuntimeError) as plain:
            nn.Linear(24, 40)(bad)
        assert str(ours.value) == str(plain.value)


@needs_onednn
def test_torch_compile_sees_a_plain_linear(products: list[tuple[int, ...]]) -> None:
    ours, x = layer(), torch.randn(3, 24)
    compiled = torch.compile(ours, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), nn.functional.linear(x, ours.weight, ours.bias))
    assert products == []


def test_functional_transforms_work() -> None:
    ours, x = layer(), torch.randn(3, 24)
    named: dict[str, Any] = {name: p.detach() for name, p in ours.named_parameters()}

    def loss(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(ours, parameters, (row,)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(named, x)
    for row in range(3):
        alone = torch.func.grad(loss)(named, x[row])
        torch.testing.assert_close({name: values[row] for name, values in each.items()}, alone)


@pytest.mark.parametrize("count", [1, 2, 3, 16, 17])
def test_a_row_depends_on_the_others_in_its_last_bits_at_most(count: int) -> None:
    ours, x = layer(256, 672), torch.randn(100, 256)
    with torch.no_grad():
        torch.testing.assert_close(ours(x[:count]), ours(x)[:count], rtol=1e-5, atol=1e-6)
        assert torch.equal(ours(x), ours(x))


@needs_onednn
@pytest.mark.parametrize("rows", [1, 3, 16, 40])
def test_packed_weights_give_the_same_numbers(rows: int, products: list[tuple[int, ...]]) -> None:
    model = nn.Sequential(nn.Linear(256, 128), nn.Linear(128, 64, bias=False))
    rk.accelerate(model)
    x = torch.randn(rows, 256)
    with torch.inference_mode():
        plain = model(x)
        with rk.packed(model):
            assert all(module.arranged is not None for module in model)
            torch.testing.assert_close(model(x), plain)
    assert len(products) == 4
    assert all(module.arranged is None for module in model)


def test_packing_is_undone_whatever_happens_and_forgotten_by_training() -> None:
    model = nn.Sequential(nn.Linear(24, 8))
    rk.accelerate(model)
    with pytest.raises(ZeroDivisionError), rk.packed(model):
        1 / 0  # noqa: B018
    x = torch.randn(3, 24)
    with rk.packed(model):
        model(x).sum().backward()  # outside inference mode the weight itself is used
        with torch.no_grad():
            model[0].weight.zero_()
        torch.testing.assert_close(model(x), model[0].bias.expand(3, 8))
    assert model[0].weight.grad is not None
    with torch.inference_mode():
        torch.testing.assert_close(model(x), model[0].bias.expand(3, 8))


@needs_onednn
def test_packing_leaves_other_dtypes_and_devices_alone() -> None:
    model = nn.Sequential(nn.Linear(24, 8), nn.Linear(8, 8))
    rk.accelerate(model)
    model[1].double()
    with rk.packed(model):
        assert model[0].arranged is not None
        assert model[1].arranged is None
    with rk.packed(model.to("meta")):
        assert model[0].arranged is None


@pytest.fixture
def _asked_again() -> Any:
    for answer in (dense.hindrance, dense._wide):
        answer.cache_clear()
    yield
    for answer in (dense.hindrance, dense._wide):
        answer.cache_clear()


OTHER_MACHINES = {
    "no oneDNN": ("torch.backends.mkldnn.is_available", lambda: False, "both MKL and oneDNN"),
    "no MKL": ("torch.backends.mkl.is_available", lambda: False, "both MKL and oneDNN"),
    "AVX2": ("torch.backends.cpu.get_cpu_capability", lambda: "AVX2", "MKL is fast"),
    "Intel": ("torch.cpu.get_capabilities", lambda: {"cpu_name": "Intel(R) Xeon(R)"}, "MKL is fast"),
    "no name": ("torch.cpu.get_capabilities", dict, "MKL is fast"),
}
THIS = {
    "torch.backends.mkldnn.is_available": lambda: True,
    "torch.backends.mkl.is_available": lambda: True,
    "torch.backends.cpu.get_cpu_capability": lambda: "AVX512",
    "torch.cpu.get_capabilities": lambda: {"cpu_name": "AMD EPYC"},
}


@pytest.mark.usefixtures("_asked_again")
@pytest.mark.parametrize("case", OTHER_MACHINES)
def test_machines_where_nothing_is_gained_keep_torch(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, answer, reason = OTHER_MACHINES[case]
    for name, said in THIS.items():
        monkeypatch.setattr(name, said, raising=False)
    monkeypatch.setattr(place, answer, raising=False)
    assert reason in str(dense.hindrance())
    model = nn.Sequential(nn.Linear(24, 8))
    assert rk.accelerate(model) == 0
    assert type(model[0]) is nn.Linear


@pytest.mark.usefixtures("_asked_again")
@pytest.mark.parametrize(
    ("said", "answer"), [({"avx_vnni": True}, True), ({"avx_vnni": False, "avx512_vnni": True}, False), ({}, False)]
)
def test_the_width_is_what_the_processor_says(
    said: dict[str, bool], answer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: said, raising=False)
    assert dense._wide() is answer


@pytest.mark.usefixtures("_asked_again")
@pytest.mark.parametrize("case", ["gone", "wrong", "raises", "other signature"])
def test_a_private_operation_that_changed_is_not_used(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Operations:
        pass

    def raising(*_: Any) -> Tensor:
        raise RuntimeError("no primitive")

    changed: dict[str, Callable[..., Tensor]] = {
        "wrong": lambda x, weight, *_: x @ torch.ones(x.shape[1], 5),
        "raises": raising,
        "other signature": lambda x, weight: x @ weight.t(),
    }
    operations: Any = Operations()
    if case != "gone":
        operations._linear_pointwise, operations._reorder_linear_weight = changed[case], lambda weight, rows: weight
    for name, said in THIS.items():
        monkeypatch.setattr(name, said, raising=False)
    monkeypatch.setattr(torch.ops, "mkldnn", operations)
    assert "oneDNN's linear layer" in str(dense.hindrance())
