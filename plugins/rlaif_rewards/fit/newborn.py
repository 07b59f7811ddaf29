"""Where a transformer's training begins: a checkpoint with a fresh head, or a small encoder with its own tokeniser.

Both come out of one seed, so that the same config and rows give the same model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from rlaif_core import ConfigError
from rlaif_core.errors import first_line
from rlaif_core.policy import quiet
from rlaif_rewards.fit.config import TransformerTable

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"


def begin(table: TransformerTable, labels: Sequence[str], texts: Sequence[str]) -> tuple[Any, Any]:
    """(model, tokeniser): the checkpoint that the table names, or a new encoder that knows the words of `texts`."""
    named = dict(enumerate(labels))
    heads = {"num_labels": len(labels), "id2label": named, "label2id": {name: number for number, name in named.items()}}
    if not table.model:
        tokeniser = tokeniser_of(texts, table.vocabulary, table.max_length)
        return _encoder(table, tokeniser, heads), tokeniser
    try:
        with quiet():
            tokeniser = AutoTokenizer.from_pretrained(table.model)
            model = AutoModelForSequenceClassification.from_pretrained(
                table.model, dtype=torch.float32, use_safetensors=True, ignore_mismatched_sizes=True, **heads
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        raise ConfigError(f"[transformer] model {table.model!r} cannot be loaded: {first_line(error)}") from error
    # What the checkpoint's own head was for is not what this one is for.
    model.config.problem_type = None
    return model, tokeniser


def tokeniser_of(texts: Sequence[str], size: int, max_length: int) -> Any:
    """Byte-pair tokens of lower-case text, learnt from `texts`; bytes of what they never hold are known too."""
    inner = Tokenizer(models.BPE())
    inner.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    ends = [(name, inner.token_to_id(name)) for name in SPECIAL[1:3]]
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=ends
    )
    pad, begin_, end, unknown = SPECIAL
    names = {"pad_token": pad, "bos_token": begin_, "eos_token": end, "unk_token": unknown}
    tokeniser = PreTrainedTokenizerFast(
        tokenizer_object=inner, model_max_length=max_length, cls_token=begin_, sep_token=end, **names
    )
    tokeniser.chat_template = TEMPLATE
    return tokeniser


def _encoder(table: TransformerTable, tokeniser: Any, heads: dict[str, Any]) -> Any:
    config = ModernBertConfig(
        vocab_size=len(tokeniser),
        hidden_size=table.hidden,
        intermediate_size=2 * table.hidden,
        num_hidden_layers=table.layers,
        num_attention_heads=table.heads,
        max_position_embeddings=table.max_length,
        classifier_pooling="mean",
        embedding_dropout=table.dropout,
        mlp_dropout=table.dropout,
        classifier_dropout=table.dropout,
        pad_token_id=tokeniser.pad_token_id,
        bos_token_id=tokeniser.bos_token_id,
        eos_token_id=tokeniser.eos_token_id,
        cls_token_id=tokeniser.cls_token_id,
        sep_token_id=tokeniser.sep_token_id,
        **heads,
    )
    return ModernBertForSequenceClassification(config)
