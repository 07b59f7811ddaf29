"""The decoder in C++ against transformers' own forward in float64, and what it refuses to stand in for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import checkpoints
from rlaif_kernels import native
from rlaif_kernels.llama import LlamaDecoder, UnsuitedError, anatomy

pytestmark = pytest.mark.native

VARIANTS = native.binary.variants() if native.missing is None else []
# Sizes that are whole vectors of any width, and sizes that are not.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "grouped queries": ("llama", {}),
    "a head of its own for each query": ("llama", {"num_key_value_heads": 4}),
    "one head for all queries": ("llama", {"num_key_value_heads": 1}),
    "whole vectors": ("llama", {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "head_dim": 32}),
    "wide heads": ("llama", {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 80}),
    "odd sizes": ("llama", {"hidden_size": 42, "intermediate_size": 37, "num_attention_heads": 3, "head_dim": 14,
                            "num_key_value_heads": 3}),
    "biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "an embedding for the head, too": ("llama", {"tie_word_embeddings": True}),
    "mistral": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {}),
    "norms of heads": ("qwen3", {}),
}  # fmt: skip
ROWS, TOKENS = [[5], list(range(11, 32)), [30, 31, 32]], 36


def built(name: str, vocabulary: int = 75) -> Any:
    kind, changes = MODELS[name]
    sizes = {**checkpoints.GROUPED, **changes}
    with checkpoints.quiet():
        config = checkpoints.transformers.AutoConfig.for_model(kind, vocab_size=vocabulary, **sizes)
        torch.manual_seed(3)
        module = checkpoints.transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.5 if parameter.ndim == 1 else 0.0, 0.3)
    return module


def begun(module: Any, rows: list[list[int]], copies: list[int], **options: Any) -> LlamaDecoder:
    """A decoder that has read `rows`, padded on the left."""
    width = max(map(len, rows))
    attend = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows])
    tokens = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    positions = (attend.cumsum(1) - 1).clamp(min=0)
    with torch.inference_mode():
        layers = module(tokens, attention_mask=attend, position_ids=positions, use_cache=True).past_key_values.layers
        keys, values = [layer.keys for layer in layers], [layer.values for layer in layers]
        options = {"room": width + TOKENS, **options}
        torch.set_num_threads(options.pop("threads", torch.get_num_threads()))  # for the decoder alone
        return LlamaDecoder(anatomy(module), keys, values, attend.sum(1), torch.tensor(copies), **options)


def grown(decoder: LlamaDecoder, tokens: Tensor) -> Tensor:
    """[T,N,V]: what it says after each of the tokens [T,N]."""
    with torch.inference_mode():
        return torch.stack([decoder(each) for each in tokens])


def exact(module: Any, row: list[int], tokens: Tensor) -> Tensor:
    """[T,V]: what the module says in float64 after each token, told everything at once."""
    with torch.no_grad():
        return module.double()(torch.tensor([row + tokens.tolist()]), use_cache=False).logits[0, len(row) :]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_the_module(name: str, variant: str) -> None:
    module, copies = built(name), [2, 0, 0, 1, 2, 0, 1, 2, 1, 0, 1]
    tokens = torch.randint(75, (TOKENS, len(copies)))
    said = grown(begun(module, ROWS, copies, variant=variant), tokens)
    for number, copy in enumerate(copies):
        wanted = exact(module, ROWS[copy], tokens[:, number])
        error = (said[:, number].double() - wanted).abs().max() / wanted.abs().max()
        assert float(error) < 1e-5


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["whole vectors", "odd sizes", "norms of heads"])
def test_a_sequence_depends_neither_on_the_others_nor_on_the_threads(name: str, variant: str) -> None:
    module, copies = built(name), [1, 0, 2, 1, 0, 2, 2, 0, 1, 1, 0, 2, 0]
    tokens = torch.randint(75, (TOKENS, len(copies)))
    torch.set_num_threads(1)
    said = grown(begun(module, ROWS, copies, variant=variant), tokens)
    for number, copy in enumerate(copies):
        # The same cache, so that what differs is the decoder alone.
        alone = grown(begun(module, ROWS, [copy], variant=variant), tokens[:, [number]])
        assert torch.equal(alone[:, 0], said[:, number])
    for threads in (2, 3, 7):
        together = begun(module, ROWS, copies, variant=variant, threads=threads)
        torch.set_num_threads(1)
        assert torch.equal(grown(together, tokens), said)


def test_going_on_with_some_changes_nothing_for_them() -> None:
    module, copies = built("grouped queries"), [0, 1, 2, 1, 0]
    tokens = torch.randint(75, (TOKENS, len(copies)))
    said, some = grown(begun(module, ROWS, copies), tokens), begun(module, ROWS, copies)
    assert torch.equal(grown(some, tokens[:3]), said[:3])
    # Which of those that are left go on, and which those are of all.
    for places, kept, steps in (
        ([1, 2, 4], [1, 2, 4], slice(3, 20)),
        ([0, 2], [1, 4], slice(20, 21)),
        ([1], [4], slice(21, TOKENS)),
    ):
        with torch.inference_mode():
            some.keep(torch.tensor(places))
        assert torch.equal(grown(some, tokens[steps][:, kept]), said[steps][:, kept])
    for wrong in ([0, 0], [1]):
        with pytest.raises(IndexError, match="no such rows"):
            some.keep(torch.tensor(wrong))


def test_weights_may_move_between_decoders() -> None:
    module, tokens = built("grouped queries"), torch.randint(75, (2, 1))
    before = grown(begun(module, ROWS, [1]), tokens)
    with torch.no_grad():
        module.model.layers[1].mlp.up_proj.weight += 0.1
    after = grown(begun(module, ROWS, [1]), tokens)
    assert (after - before).abs().max() > 0.01
    torch.testing.assert_close(after[:, 0].double(), exact(module, ROWS[1], tokens[:, 0]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "place",
    ["model.embed_tokens", "model.layers.1.mlp.gate_proj", "model.layers.0.self_attn.k_proj", "model.norm", "lm_head"],
)
def test_a_nan_is_not_swallowed(place: str, variant: str) -> None:
    module = built("grouped queries")
    decoder = begun(module, ROWS, [1], variant=variant) if place == "model.embed_tokens" else None
    with torch.no_grad():
        module.get_submodule(place).weight.fill_(torch.nan)
    assert bool(grown(decoder or begun(module, ROWS, [1], variant=variant), torch.tensor([[3]])).isnan().any())


def test_a_full_cache_is_an_error() -> None:
    decoder = begun(built("grouped queries"), [[1, 2, 3]], [0], room=16)  # a whole vector, whatever its width
    grown(decoder, torch.ones(13, 1, dtype=torch.long))
    with pytest.raises(ValueError, match="the cache is full"):
        grown(decoder, torch.ones(1, 1, dtype=torch.long))
    with pytest.raises(ValueError, match="no room for that many tokens"):
        begun(built("grouped queries"), [list(range(20))], [0], room=4)


def test_an_unknown_variant_and_wrong_sizes_are_errors() -> None:
    with pytest.raises(ValueError, match="cannot run the variant 'mmx'"):
        begun(built("grouped queries"), ROWS, [0], variant="mmx")
    with pytest.raises(
        UnsuitedError, match=r"the embeddings should be float32 \[1, 32\] .* not torch.float32 \[2, 32\]"
    ):
        begun(built("grouped queries"), ROWS, [0])(torch.tensor([1, 2]))


def changed(change: Callable[[Any], object]) -> Callable[[], Any]:
    def module() -> Any:
        made = built("grouped queries")
        change(made)
        return made

    return module


def other_norm(module: Any) -> None:
    module.model.norm.variance_epsilon = 1e-3


def hooked(module: Any) -> None:
    module.model.layers[0].mlp.register_forward_hook(lambda *_: None)


def gelu(module: Any) -> None:
    module.model.layers[1].mlp.act_fn = nn.GELU()


def layer_norm(module: Any) -> None:
    module.model.norm = nn.LayerNorm(32)


def transposed(module: Any) -> None:
    module.lm_head.weight = nn.Parameter(torch.randn(32, 75).t())


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def doubled(module: Any) -> None:
    module.model.layers[0].self_attn.q_proj.__class__ = Doubled


def narrower(module: Any) -> None:
    block = module.model.layers[1].mlp
    block.gate_proj, block.up_proj, block.down_proj = nn.Linear(32, 16), nn.Linear(32, 16), nn.Linear(16, 32)


def patched(module: Any) -> None:
    module.model.layers[0].mlp.forward = lambda x: x


def short(module: Any) -> None:
    module.model.embed_tokens = nn.Embedding(70, 32)


def parametrised(module: Any) -> None:
    nn.utils.parametrize.register_parametrization(module.model.norm, "weight", nn.Identity())


def small_bias(module: Any) -> None:
    module.lm_head.bias = nn.Parameter(torch.zeros(1))


UNSUITED: dict[str, tuple[Callable[[], Any], str]] = {
    "gpt2": (lambda: checkpoints.model("gpt2", vocabulary=40), "no trunk `model`"),
    "phi": (lambda: checkpoints.model("phi", vocabulary=40), "its trunk has other parts"),
    "gemma2": (lambda: checkpoints.model("gemma2", vocabulary=40), "its layers have other parts"),
    "phi3": (lambda: checkpoints.model("phi3", vocabulary=40), "its layers have other parts"),
    "no module": (lambda: object(), "no trunk `model`"),
    "bfloat16": (lambda: built("grouped queries").bfloat16(), "not all of them are float32"),
    "elsewhere": (lambda: built("grouped queries").to("meta"), "got a tensor on meta"),
    "transposed": (changed(transposed), "float32 and contiguous"),
    "another activation": (changed(gelu), "not SiLU"),
    "another norm": (changed(layer_norm), "not RMSNorm"),
    "norms that differ": (changed(other_norm), "differ from each other"),
    "another linear layer": (changed(doubled), "not plain linear"),
    "hooks": (changed(hooked), "hooks want to see"),
    "in training": (changed(lambda module: module.train()), "training mode"),
    "layers of two sizes": (changed(narrower), "differ from each other"),
    "a forward of its own": (changed(patched), "a forward of their own"),
    "fewer embeddings than outputs": (changed(short), "other sizes"),
    "a bias for all": (changed(small_bias), "other sizes"),
    "a gain that is computed": (changed(parametrised), "hooks|computed|other parts"),
}


@pytest.mark.parametrize("case", UNSUITED)
def test_what_it_cannot_stand_in_for_is_refused(case: str) -> None:
    module, reason = UNSUITED[case]
    with pytest.raises(UnsuitedError, match=reason):
        anatomy(module())


def test_what_is_on_everywhere_counts_too() -> None:
    module = built("grouped queries")
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(UnsuitedError, match="autocast is on"):
        anatomy(module)
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    with pytest.raises(UnsuitedError, match="hooks want to see"):
        anatomy(module)
    handle.remove()
    module(torch.tensor([[1, 2]]), output_hidden_states=True)  # leaves hooks that nobody looks through later
    assert anatomy(module)


@pytest.mark.parametrize(
    ("layers", "cut", "lengths"),
    [(1, 0, [3]), (2, 1, [3]), (2, 0, [4])],
    ids=["too few layers", "shorter values", "longer than the cache"],
)
def test_a_cache_that_does_not_fit_is_refused(layers: int, cut: int, lengths: list[int]) -> None:
    keys = [torch.zeros(1, 2, 3, 8)] * layers
    values = [each[:, :, cut:] for each in keys]
    with pytest.raises(UnsuitedError, match=r"not all that it has read|a cache should be"):
        LlamaDecoder(anatomy(built("grouped queries")), keys, values, torch.tensor(lengths), torch.tensor([0]), room=8)


def test_large_gates_do_not_overflow() -> None:
    module, tokens = built("grouped queries"), torch.randint(75, (3, 1))
    with torch.no_grad():
        module.model.layers[0].mlp.gate_proj.weight *= 600
    said, wanted = grown(begun(module, ROWS, [1]), tokens)[:, 0].double(), exact(module, ROWS[1], tokens[:, 0])
    assert float((said - wanted).abs().max() / wanted.abs().max()) < 1e-4


def test_a_cache_takes_the_memory_that_its_tokens_need() -> None:
    psutil = pytest.importorskip("psutil")
    module, before = built("grouped queries"), psutil.Process().memory_info().rss
    decoder = begun(module, ROWS, [0] * 512, room=8192)  # 2 GiB if all of it were used
    grown(decoder, torch.ones(3, 512, dtype=torch.long))
    assert psutil.Process().memory_info().rss - before < 400 * 2**20


def test_without_the_binary_nothing_suits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "missing", "there is no compiler")
    with pytest.raises(UnsuitedError, match="there is no compiler"):
        anatomy(built("grouped queries"))
