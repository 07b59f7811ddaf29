"""Generation by models of the Llama family on the CPU: a whole decode step in one call of C++.

A decode step of a small model is hundreds of operations that cost more to call than to compute; here it is one, and
what torch's own products lose with a few rows at a time is won back. `anatomy` finds the parts of a module and looks
whether they are of the right kind; that they are put together as in Llama is for its caller to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rlaif_kernels import native
from rlaif_kernels.dense import Dense

__all__ = ["Anatomy", "LlamaDecoder", "UnsuitedError", "anatomy"]

BLOCK = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
FEED_FORWARD = {"gate_proj", "up_proj", "down_proj", "act_fn"}
HEAD_NORMS = {"q_norm", "k_norm"}
SILU = {"SiLU", "SiLUActivation"}


class UnsuitedError(ValueError):
    """`LlamaDecoder` cannot stand in for this module; the message says why."""


@dataclass(frozen=True, slots=True)
class Anatomy:
    """The parts of a model of the Llama family: RMSNorm, rotary positions, grouped queries, gated feed-forward parts.

    `embedding` and `rotary` are called as they are; the rest is computed in C++ from its parameters.
    """

    embedding: nn.Module
    rotary: nn.Module
    blocks: Sequence[Any]
    last: nn.Module
    head: nn.Linear
    width: int
    epsilon: float
    scaling: float


def anatomy(module: Any) -> Anatomy:
    """Find the parts of a causal language model, laid out as transformers does. Raises `UnsuitedError`."""
    _insist(native.missing is None, str(native.missing))
    _insist(_children(module) == {"model", "lm_head"}, "it is no trunk `model` under a head `lm_head`")
    trunk = module.model
    _insist(_children(trunk) == {"embed_tokens", "layers", "norm", "rotary_emb"}, "its trunk has other parts")
    blocks = list(trunk.layers)
    for block in blocks:
        _insist(_children(block) == BLOCK, "its layers have other parts")
        _insist(_children(block.self_attn) - HEAD_NORMS == ATTENTION, "its attention has other parts")
        _insist(_children(block.mlp) == FEED_FORWARD, "its feed-forward parts have other parts")
        _insist(type(block.mlp.act_fn).__name__ in SILU, "its activation is not SiLU")
    linear = [module.lm_head, *(layer for block in blocks for layer in _linear(block))]
    _insist(all(type(layer) in (nn.Linear, Dense) for layer in linear), "some of its layers are not plain linear ones")
    norms = [trunk.norm, *(norm for block in blocks for norm in _norms(block))]
    _insist(all(hasattr(norm, "variance_epsilon") for norm in norms), "its norms are not RMSNorm")
    epsilons = {float(norm.variance_epsilon) for norm in norms}
    kinds = {(int(block.self_attn.head_dim), float(block.self_attn.scaling)) for block in blocks}
    sizes = {tuple(tuple(layer.weight.shape) for layer in _linear(block)) for block in blocks}
    _insist(len(epsilons) == len(kinds) == len(sizes) == 1, "its layers differ from each other")
    biases = all(layer.bias is None or layer.bias.shape == layer.weight.shape[:1] for layer in linear)
    _insist(biases and trunk.embed_tokens.weight.shape == module.lm_head.weight.shape, "its layers have other sizes")
    _insist(all("weight" in part._parameters for part in (*linear, *norms)), "its weights are computed")  # noqa: SLF001
    refused = native.refuses(list(module.parameters())) or _unlike(module.parameters())
    _insist(refused is None, f"its parameters: {refused}")
    _insist(not module.training, "it is in training mode")
    _insist(not torch.is_autocast_enabled("cpu"), "autocast is on")
    _insist(
        not _watched_everywhere() and not any(map(_watched, module.modules())), "hooks want to see its layers at work"
    )
    _insist(
        not any("forward" in vars(part) for part in module.modules()), "some of its layers have a forward of their own"
    )
    (width, scaling), epsilon = kinds.pop(), epsilons.pop()
    return Anatomy(trunk.embed_tokens, trunk.rotary_emb, blocks, trunk.norm, module.lm_head, width, epsilon, scaling)


class LlamaDecoder:
    """N sequences that grow by a token at a time, each with its own cache of keys and values.

    keys, values: by layer, [P, groups, W, width] each, what P sequences have come to so far; lengths [P]: how many of
    the last of their W tokens are real. copies [N]: which of them each of the N sequences begins as. room: how many
    tokens a sequence may ever have. The weights are copied into an arrangement of their own, and must not change.

    The numbers agree with torch's within rounding. Those of a sequence depend neither on the other sequences nor on
    the number of threads, which are torch's own. variant: one of `native.binary.variants()`, by default the first.
    """

    def __init__(
        self,
        its: Anatomy,
        keys: Sequence[Tensor],
        values: Sequence[Tensor],
        lengths: Tensor,
        copies: Tensor,
        *,
        room: int,
        variant: str = "",
    ) -> None:
        attention, feed = its.blocks[0].self_attn, its.blocks[0].mlp
        groups = len(attention.k_proj.weight) // its.width
        self._embedding, self._rotary, self._lengths = its.embedding, its.rotary, lengths[copies]
        self._vocabulary, self._hidden = its.head.weight.shape
        self._turned = self._angles(its.head.weight.new_zeros(1, self._hidden), lengths[:1])[0].shape[-1]
        self._native = native.binary.Decoder(
            rows=len(copies),
            hidden=self._hidden,
            heads=len(attention.q_proj.weight) // its.width,
            groups=groups,
            width=its.width,
            rotary=self._turned,
            inner=len(feed.gate_proj.weight),
            vocabulary=self._vocabulary,
            room=room,
            layers=len(its.blocks),
            epsilon=its.epsilon,
            scaling=its.scaling,
            threads=torch.get_num_threads(),
            variant=variant,
        )
        for number, block in enumerate(its.blocks):
            attention, feed = block.self_attn, block.mlp
            self._native.set_block(
                layer=number,
                before=_gain(block.input_layernorm, self._hidden),
                between=_gain(block.post_attention_layernorm, self._hidden),
                query=_gain(getattr(attention, "q_norm", None), its.width),
                key=_gain(getattr(attention, "k_norm", None), its.width),
                qkv=_parts(attention.q_proj, attention.k_proj, attention.v_proj, into=self._hidden),
                projection=_parts(attention.o_proj, into=len(attention.q_proj.weight)),
                gate_up=_parts(feed.gate_proj, feed.up_proj, into=self._hidden),
                down=_parts(feed.down_proj, into=len(feed.gate_proj.weight)),
            )
        self._native.set_head(last=_gain(its.last, self._hidden), head=_parts(its.head, into=self._hidden))
        sequences = list(zip(copies.tolist(), self._lengths.tolist(), strict=True))
        steps = keys[0].shape[2]
        _insist(len(keys) == len(its.blocks) and int(lengths.max()) <= steps, "its cache is not all that it has read")
        for layer, caches in enumerate(zip(keys, values, strict=True)):
            known = [_rows("a cache", cache, lengths.numel(), groups, steps, its.width) for cache in caches]
            for row, (copy, length) in enumerate(sequences):
                key, value = (cache[copy, :, steps - length :].data_ptr() for cache in known)
                self._native.remember(layer=layer, row=row, keys=key, values=value, stride=steps, count=length)

    def __call__(self, tokens: Tensor) -> Tensor:
        """tokens [N] int64, the next of each sequence -> [N,V] f32, the logits of the one after it."""
        x = _rows("the embeddings", self._embedding(tokens), len(self._lengths), self._hidden)
        angles = self._angles(x, self._lengths)
        cosines, sines = (_rows("the angles", angle, len(x), self._turned) for angle in angles)
        logits = x.new_empty(len(x), self._vocabulary)
        self._native.step(x=x.data_ptr(), cosines=cosines.data_ptr(), sines=sines.data_ptr(), logits=logits.data_ptr())
        self._lengths = self._lengths + 1
        return logits

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the sequences alone: their numbers, in rising order."""
        self._native.keep(rows.tolist())
        self._lengths = self._lengths[rows]

    def _angles(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [N, rotary] at some positions [N]; x tells the dtype."""
        cosines, sines = self._rotary(x, position_ids=positions[:, None])
        return cosines[:, 0], sines[:, 0]


def _insist(holds: bool, reason: str) -> None:
    if not holds:
        raise UnsuitedError(reason)


def _children(module: Any) -> set[str]:
    return {name for name, _ in module.named_children()} if isinstance(module, nn.Module) else set()


def _linear(block: Any) -> Iterator[Any]:
    yield from (getattr(block.self_attn, name) for name in sorted(ATTENTION))
    yield from (getattr(block.mlp, name) for name in ("gate_proj", "up_proj", "down_proj"))


def _norms(block: Any) -> Iterator[Any]:
    yield from (block.input_layernorm, block.post_attention_layernorm)
    yield from (getattr(block.self_attn, name) for name in _children(block.self_attn) & HEAD_NORMS)


def _unlike(parameters: Iterator[Tensor]) -> str | None:
    """Why some parameters cannot be read as rows of floats."""
    fit = all(each.dtype == torch.float32 and each.is_contiguous() for each in parameters)
    return None if fit else "not all of them are float32 and contiguous"


def _watched(module: nn.Module) -> bool:
    """Whether a stranger's hooks are on it; those of transformers are there for outputs that nobody asks for here."""
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]  # noqa: SLF001
    return any(not str(getattr(hook, "__module__", "")).startswith("transformers.") for hook in hooks)


def _watched_everywhere() -> bool:
    every = nn.modules.module
    return bool(every._global_forward_hooks or every._global_forward_pre_hooks)  # noqa: SLF001


def _rows(what: str, given: Tensor, *shape: int) -> Tensor:
    """`given` as it may be handed over by its address."""
    if given.shape != shape or given.dtype != torch.float32 or not given.is_cpu:
        raise UnsuitedError(f"{what} should be float32 {list(shape)} on the CPU, not {given.dtype} {list(given.shape)}")
    return given.resolve_neg().contiguous()


def _gain(norm: Any, size: int) -> int:
    """The address of a norm's gains; 0 for a norm that is not there."""
    if norm is None:
        return 0
    _insist(norm.weight.shape == (size,), "its norms have other sizes")
    return int(norm.weight.data_ptr())


def _parts(*layers: nn.Linear, into: int) -> list[tuple[int, int, int]]:
    """(address of the weight, of the bias or 0, outputs) of layers that read the same `into` inputs."""
    _insist(all(layer.weight.shape[1] == into for layer in layers), "its layers have other sizes")
    biases = [0 if layer.bias is None else layer.bias.data_ptr() for layer in layers]
    return [(layer.weight.data_ptr(), bias, len(layer.weight)) for layer, bias in zip(layers, biases, strict=True)]
