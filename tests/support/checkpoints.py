"""Tiny random-weight checkpoints and tokenisers, built in process: every architecture without a download.

The weights are large for their size (`spread`), so that a wrong position, mask or shift shows in the log-probs instead
of hiding in a nearly uniform distribution.
"""

from __future__ import annotations

import string
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, processors
from transformers import PreTrainedTokenizerFast

CHARACTERS = string.ascii_letters + string.digits + " .,!?:;'\"<>/|_-+*=()[]{}@#$%&\n"
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CONTROLS = ("<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>")
# Without these the alphabet would always come back as it went in; with them "t", "h" drawn apart come back as "th".
PAIRS = (("t", "h"), ("e", " "), ("a", "n"), ("i", "n"), ("o", "o"), ("l", "l"))

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128}
GROUPED = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2}
# Name -> (model type of transformers, sizes). Windows are shorter than the sequences that the tests make.
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", GROUPED),
    "mistral": ("mistral", {**GROUPED, "sliding_window": 7}),
    "qwen3": ("qwen3", {**GROUPED, "head_dim": 8}),
    "gemma2": (
        "gemma2",
        {**GROUPED, "head_dim": 8, "sliding_window": 7, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    ),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "gpt_neox": ("gpt_neox", {**SIZES, "intermediate_size": 48}),
    "phi": ("phi", {**SIZES, "intermediate_size": 48, "partial_rotary_factor": 0.5}),
    "phi3": ("phi3", {**GROUPED, "sliding_window": None}),
    "opt": ("opt", {**SIZES, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "bloom": ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mamba": ("mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
}


def tokeniser(
    *,
    template: str | None = TEMPLATE,
    end: str | None = "<|end|>",
    pad: str | None = "<|pad|>",
    begin: str | None = None,
    special: Sequence[str] = CONTROLS,
    ordinary: Sequence[str] = (),
) -> PreTrainedTokenizerFast:
    """A tokeniser of single characters and a few merges; `special` tokens are control tokens, `ordinary` ones are not.

    `begin` is put before every text, as many tokenisers do.
    """
    vocabulary = {character: number for number, character in enumerate(CHARACTERS)}
    for left, right in PAIRS:
        vocabulary[left + right] = len(vocabulary)
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=list(PAIRS)))
    inner.decoder = decoders.Fuse()
    inner.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    inner.add_tokens([AddedToken(text, special=False, normalized=False) for text in ordinary])
    if begin:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, inner.token_to_id(begin))]
        )
    named = {"bos_token": begin, "eos_token": end, "pad_token": pad}
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        chat_template=template,
        clean_up_tokenization_spaces=False,
        **{name: text for name, text in named.items() if text},
    )


def model(architecture: str = "llama", *, vocabulary: int, spread: float = 0.2, **changes: Any) -> Any:
    """A random model of that architecture, the same each time; `changes` go into its config."""
    kind, sizes = ARCHITECTURES[architecture]
    tokens = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    settings = {"vocab_size": vocabulary, "initializer_range": spread, "tie_word_embeddings": False, **tokens, **sizes}
    config = transformers.AutoConfig.for_model(kind, **(settings | changes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def checkpoint(
    folder: Path,
    architecture: str = "llama",
    *,
    tokens: PreTrainedTokenizerFast | None = None,
    ends: int | list[int] | None = None,
    **changes: Any,
) -> Path:
    """A model folder as `save_pretrained` writes it; `ends` are the end ids of its generation config."""
    tokens = tokens or tokeniser()
    made = model(architecture, vocabulary=len(tokens), **changes)
    made.generation_config.eos_token_id = tokens.eos_token_id if ends is None else ends
    with quiet():
        made.save_pretrained(folder)
        tokens.save_pretrained(folder)
    return folder


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, and no advice to install faster kernels."""
    verbosity = transformers.logging.get_verbosity()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers.logging.disable_progress_bar()
        transformers.logging.set_verbosity_error()
        try:
            yield
        finally:
            transformers.logging.set_verbosity(verbosity)
            transformers.logging.enable_progress_bar()
