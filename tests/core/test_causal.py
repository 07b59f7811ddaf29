from __future__ import annotations

from inspect import Parameter, Signature
from types import SimpleNamespace

import pytest
import torch

import checkpoints
import rlaif_kernels as rk
from checkpoints import ARCHITECTURES
from rlaif_core.causal import CausalModel, left_padded
from rlaif_core.errors import ConfigError
from rlaif_kernels import native
from rlaif_kernels.llama import LlamaDecoder

ROWS = [[5], [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21], [30, 31, 32, 33]]


def built(architecture: str, **changes: object) -> CausalModel:
    with checkpoints.quiet():
        return CausalModel(checkpoints.model(architecture, vocabulary=40, **changes))


def alone(model: CausalModel, row: list[int]) -> torch.Tensor:
    """[T,V] logits of one row, read by the bare module without padding, positions or cache."""
    with torch.no_grad():
        return model.module(torch.tensor([row]), use_cache=False).logits[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_on_either_side_changes_nothing(architecture: str) -> None:
    model = built(architecture)
    tokens, attend = left_padded(ROWS, 39, model.device)
    tokens, attend = (torch.nn.functional.pad(x, (1, 3)) for x in (tokens, attend))
    with torch.no_grad():
        logits, cache = model(tokens, attend, keep=tokens.shape[1])
    assert cache is None
    for row, mine, here in zip(ROWS, logits, attend, strict=True):
        torch.testing.assert_close(mine[here], alone(model, row), rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_cache_goes_on_where_it_was_for_any_rows(architecture: str) -> None:
    model = built(architecture)
    tokens, attend = left_padded(ROWS, 39, model.device)
    with torch.no_grad():
        logits, cache = model(tokens, attend, keep=1, caching=True)
        for row, mine in zip(ROWS, logits, strict=True):
            torch.testing.assert_close(mine[0], alone(model, row)[-1], rtol=0, atol=1e-5)
        order = torch.tensor([2, 0, 0, 1])
        cache.reorder_cache(order)
        rows, attend = [ROWS[at] for at in order], attend[order]
        for token in range(1, 10):  # past every sliding window
            rows, attend = [[*row, token] for row in rows], torch.nn.functional.pad(attend, (0, 1), value=True)
            logits, cache = model(torch.full((4, 1), token), attend, keep=1, cache=cache, caching=True)
    for row, mine in zip(rows, logits, strict=True):
        torch.testing.assert_close(mine[0], alone(model, row)[-1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_pieces_make_the_whole_where_a_prefix_may_be_shared(architecture: str) -> None:
    model = built(architecture)
    tokens, attend = left_padded([row * 2 for row in ROWS], 39, model.device)
    with torch.no_grad():
        whole, _ = model(tokens, attend, keep=8)
        _, cache = model(tokens[:, :-8], attend[:, :-8], keep=1, caching=True)
        assert model.shares_prefixes == (architecture != "mamba")
        if model.shares_prefixes:
            pieces, _ = model(tokens[:, -8:], attend, keep=8, cache=cache, caching=True)
            here = attend[:, -8:]
            torch.testing.assert_close(pieces[here], whole[here], rtol=0, atol=1e-5)


NATIVE = {"llama", "qwen3"}  # mistral has a window here


def drawn(model: CausalModel, steps: int = 12) -> torch.Tensor:
    """[steps,N,V]: logits along continuations of `ROWS` that lose some of their rows on the way."""
    tokens, attend = left_padded(ROWS, 39, model.device)
    generator, said = torch.Generator().manual_seed(0), []
    with (
        torch.inference_mode(),
        model.continued(tokens, attend, torch.tensor([2, 0, 0, 1, 2]), steps) as (logits, continuation),
    ):
        for step in range(steps):
            said.append(logits)
            if step == 5:
                continuation.keep(torch.tensor([1, 2, 4]))
                logits = logits[[1, 2, 4]]
            logits = continuation(torch.randint(40, (len(logits),), generator=generator))
    return torch.stack([each if len(each) == 3 else each[[1, 2, 4]] for each in said])


def drawn_plainly(model: CausalModel) -> torch.Tensor:
    with rk.using("torch"):
        return drawn(model)


@pytest.mark.native
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_continuations_say_the_same_whatever_computes_them(architecture: str) -> None:
    model = built(architecture)
    assert (model.hindrance is None) == (architecture in NATIVE)
    with rk.using("torch"):
        assert model.hindrance == "kernels = 'torch'"
    torch.testing.assert_close(drawn(model), drawn_plainly(model), rtol=0, atol=2e-5)


@pytest.mark.native
def test_the_native_way_is_taken_where_it_is_the_same_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    inner = LlamaDecoder.__call__

    def counting(self: LlamaDecoder, tokens: torch.Tensor) -> torch.Tensor:
        counted.append(len(tokens))
        return inner(self, tokens)

    def taken(model: CausalModel) -> bool:
        counted.clear()
        drawn(model, 3)
        return bool(counted)

    model = built("llama")
    assert model.hindrance is None
    monkeypatch.setattr(LlamaDecoder, "__call__", counting)
    assert taken(model)
    handle = model.module.model.layers[0].register_forward_hook(lambda *_: None)
    assert not taken(model)  # the hook shall see every token
    handle.remove()
    assert taken(model)


class Odd(torch.nn.Module):
    """A Llama that does something else somewhere."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.weight, self.variance_epsilon = inner, inner.weight, inner.variance_epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * 1.01


@pytest.mark.native
def test_what_only_looks_like_llama_is_left_to_transformers() -> None:
    other = built("llama")
    other.module.model.norm = Odd(other.module.model.norm)
    assert other.hindrance == "the native decoder does not agree with it"
    torch.testing.assert_close(drawn(other), drawn_plainly(other), rtol=0, atol=2e-5)
    subclass = built("llama")
    subclass.module.__class__ = type("Mine", (type(subclass.module),), {})
    assert subclass.hindrance == "Mine is not of the Llama family"
    namesake = built("llama")
    namesake.module.__class__ = type("LlamaForCausalLM", (type(namesake.module),), {"__module__": "remote_code"})
    assert namesake.hindrance == "LlamaForCausalLM is not of the Llama family"
    windowed = built("mistral", sliding_window=50)  # longer than any example
    assert windowed.hindrance == "its cache is not that of full attention"
    torch.testing.assert_close(drawn(windowed), drawn_plainly(windowed), rtol=0, atol=2e-5)
    broken = built("llama")
    torch.nn.init.constant_(broken.module.lm_head.weight, torch.nan)
    assert broken.hindrance == "the native decoder does not agree with it"


@pytest.mark.native
def test_what_changes_after_the_example_is_noticed() -> None:
    model = built("llama")
    assert model.hindrance is None
    model.module.train()
    assert model.hindrance == "it is in training mode"
    model.module.eval()
    model.module.model.layers[0].mlp.forward = torch.tanh
    assert model.hindrance == "some of its layers have a forward of their own"
    torch.testing.assert_close(drawn(model), drawn_plainly(model), rtol=0, atol=2e-5)
    del model.module.model.layers[0].mlp.forward
    assert model.hindrance is None
    tokens, _ = left_padded(ROWS, 39, model.device)
    attend = torch.ones_like(tokens, dtype=torch.bool)
    attend[0, -2:] = False  # flush left: what the decoder is not for
    with torch.inference_mode(), model.continued(tokens, attend, torch.tensor([0]), 4) as (_, continuation):
        assert not isinstance(continuation, LlamaDecoder)


def test_without_the_binary_transformers_generates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "missing", "there is no compiler")
    model = built("llama")
    assert model.hindrance == "there is no compiler"
    assert drawn(model).isfinite().all()


def test_absolute_positions_would_show_wrong_ones() -> None:
    """The test of padding above can fail: without position ids GPT-2 gives other logits for a padded row."""
    model = built("gpt2")
    tokens, attend = left_padded(ROWS, 39, model.device)
    with torch.no_grad():
        wrong = model.module(tokens, attention_mask=attend).logits
    assert (wrong[0, -1] - alone(model, ROWS[0])[-1]).abs().max() > 0.1


@pytest.mark.parametrize("name", ["cache", "past_key_values", "cache_params"])
def test_a_cache_goes_by_the_name_that_forward_gives_it(name: str) -> None:
    class Named(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.given = torch.nn.Parameter(torch.zeros(1)), {}

        def forward(self, input_ids, attention_mask, use_cache, **given):
            self.given = given
            return SimpleNamespace(logits=torch.zeros(*input_ids.shape, 3), **{name: "held"})

        names = ("self", "input_ids", "attention_mask", "use_cache", name)
        forward.__signature__ = Signature([Parameter(its, Parameter.POSITIONAL_OR_KEYWORD) for its in names])

    model = CausalModel(Named())
    tokens, attend = torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, 2, dtype=torch.bool)
    _, cache = model(tokens, attend, keep=1, caching=True)
    assert cache == "held"
    model(tokens, torch.ones(1, 4, dtype=torch.bool), keep=1, cache=cache, caching=True)
    assert model.module.given == {name: "held"}


def test_a_cache_of_an_unknown_name_is_refused_and_not_forgotten() -> None:
    class Renamed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids, attention_mask, use_cache, memory=None):
            return SimpleNamespace(logits=torch.zeros(*input_ids.shape, 3), memory="held")

    tokens, attend = torch.zeros(1, 2, dtype=torch.int64), torch.ones(1, 2, dtype=torch.bool)
    CausalModel(Renamed())(tokens, attend, keep=1)
    with pytest.raises(ConfigError, match=r"Renamed\.forward takes no cache"):
        CausalModel(Renamed())(tokens, attend, keep=1, caching=True)


def test_only_what_the_architecture_takes_is_passed() -> None:
    class Bare(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.given = torch.nn.Parameter(torch.zeros(1)), {}

        def forward(self, input_ids, attention_mask, use_cache, past_key_values=None):
            self.given = {"attention_mask": attention_mask, "use_cache": use_cache}
            return SimpleNamespace(logits=torch.zeros(*input_ids.shape, 3), past_key_values=SimpleNamespace(layers=[1]))

    model = CausalModel(Bare())
    tokens = torch.zeros(2, 4, dtype=torch.int64)
    logits, _ = model(tokens, torch.ones(2, 4, dtype=torch.bool), keep=2)
    assert logits.shape == (2, 2, 3)
    assert model.module.given == {"attention_mask": None, "use_cache": False}
    model(tokens, torch.tensor([[False, True, True, True]] * 2), keep=2, caching=True)
    assert model.module.given["attention_mask"].sum() == 6
    assert not model.shares_prefixes  # a cache layer of an unknown kind


def test_adapters_are_looked_through() -> None:
    peft = pytest.importorskip("peft")
    plain = checkpoints.model("gpt2", vocabulary=40)
    with checkpoints.quiet():
        wrapped = peft.get_peft_model(plain, peft.LoraConfig(target_modules=["c_attn"]))
    tokens, attend = left_padded(ROWS, 39, torch.device("cpu"))
    with torch.no_grad():
        logits, _ = CausalModel(wrapped.eval())(tokens, attend, keep=1)
    torch.testing.assert_close(logits[0, 0], alone(CausalModel(plain), ROWS[0])[-1])


def test_rows_flush_right() -> None:
    tokens, attend = left_padded([[1], [2, 3, 4]], 9, torch.device("cpu"))
    assert tokens.tolist() == [[9, 9, 1], [2, 3, 4]]
    assert attend.tolist() == [[False, False, True], [True, True, True]]
