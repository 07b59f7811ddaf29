"""Random language models of a few thousand weights, built in process: what the checks try things on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rlaif_core import Prompt, Rollouts, Sampling
from rlaif_core.policy import TransformersPolicy, quiet

WORDS = [f"w{number}" for number in range(40)]
PROMPTS = (Prompt(id="short", text="w1 w2"), Prompt(id="long", text="w3 w4 w5 w6 w7"))


def tokeniser(pad: str = "<pad>") -> PreTrainedTokenizerFast:
    """Words at blanks; everything unknown becomes "<unk>"."""
    words = {word: number for number, word in enumerate(["<eos>", "<pad>", "<unk>", *WORDS])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token=pad, unk_token="<unk>")


@contextmanager
def saved(model: Any, tokens: PreTrainedTokenizerFast) -> Iterator[Path]:
    """A temporary folder with both, as `save_pretrained` writes them."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        model.save_pretrained(folder)
        tokens.save_pretrained(folder)
        yield Path(folder)


@contextmanager
def checkpoint(*, pad: str = "<pad>", ends: int = 1, dropout: float = 0.0) -> Iterator[Path]:
    """The folder of a GPT-2: absolute positions show every mistake in them."""
    tokens = tokeniser(pad)
    config = transformers.GPT2Config(
        vocab_size=len(tokens),
        n_positions=64,
        n_embd=16,
        n_layer=2,
        n_head=2,
        initializer_range=0.4,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = transformers.GPT2LMHeadModel(config)
    model.generation_config.eos_token_id = [*range(3, 2 + ends), 0]
    with saved(model, tokens) as folder:
        yield folder


@contextmanager
def reward_checkpoint() -> Iterator[Path]:
    """The folder of a Llama with a score head; padding and the end of sequence share an id."""
    tokens = tokeniser(pad="<eos>")
    config = transformers.LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=1,
        pad_token_id=0,
        eos_token_id=0,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = transformers.LlamaForSequenceClassification(config)
    with saved(model, tokens) as folder:
        yield folder


@contextmanager
def judge_checkpoint() -> Iterator[Path]:
    """The folder of a Llama that can say A and B and has room for a question about two short answers."""
    words = {word: number for number, word in enumerate(["<eos>", "<pad>", "<unk>", "A", "B", "x", "y", "alone."])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokens = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>")
    config = transformers.LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.5,
        pad_token_id=1,
        eos_token_id=0,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = transformers.LlamaForCausalLM(config)
    with saved(model, tokens) as folder:
        yield folder


@cache
def policy(**how: Any) -> TransformersPolicy:
    """A policy on a fresh `checkpoint`, on the CPU; the same one for the same arguments."""
    return fresh(**how)


def fresh(lora: dict[str, Any] | None = None, adapter: str | None = None, **how: Any) -> TransformersPolicy:
    """A policy of one's own, to be trained."""
    with checkpoint(**how) as folder, quiet():  # adapters on GPT-2's transposed layers are fine, if noted
        return TransformersPolicy(folder, device="cpu", lora=lora, adapter=adapter)


def shaken(of: TransformersPolicy) -> TransformersPolicy:
    """The policy after training of a kind: whatever can be trained has moved at random."""
    with torch.no_grad():
        for parameter in of.module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return of


def continued() -> TransformersPolicy:
    """A policy of one's own that goes on from a trained adapter."""
    module: Any = shaken(fresh(lora={"r": 2})).module
    with tempfile.TemporaryDirectory() as folder, quiet():
        module.save_pretrained(folder)
        return fresh(adapter=folder)


def rollouts(of: TransformersPolicy | None = None, **sampling: Any) -> Rollouts:
    """Three answers to each of two prompts of unequal length."""
    sampler = (of or policy()).sampler(seed=0, step=1, group=3)
    return sampler.sample(PROMPTS, Sampling(**{"max_tokens": 8, **sampling}))
