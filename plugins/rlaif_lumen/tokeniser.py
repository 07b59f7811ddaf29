"""The closed word-level tokeniser and its chat template. No text can spell a control token, whatever it contains."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rlaif_lumen.lexicon import CONTROL, UNKNOWN_WORD, words

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "<bos>{% for message in messages %}"
    "{% if message['role'] == 'system' %} <sys> {{ message['content'] }}"
    "{% elif message['role'] == 'user' %} <usr> {{ message['content'] }}"
    "{% elif message['role'] == 'assistant' %} <bot> {{ message['content'] }} <eot>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %} <bot>{% endif %}"
)
"""Renders to control tokens and words; text in `content` is not escaped here, it is tokenised as plain text."""


@cache
def vocabulary() -> dict[str, int]:
    """Word to id: control tokens first (`<pad>` is 0), then `<unk>`, then the words."""
    return {word: number for number, word in enumerate((*CONTROL, UNKNOWN_WORD, *words()))}


def word_tokeniser() -> Tokenizer:
    """Plain text to ids and nothing else: lower-cased, split at spaces and around every punctuation mark, so that
    `<usr>` in a text becomes three unknown words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    tokeniser = Tokenizer(models.WordLevel(vocabulary(), unk_token=UNKNOWN_WORD))
    tokeniser.normalizer = normalizers.Lowercase()
    tokeniser.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")]
    )
    return tokeniser


def chat_tokeniser() -> PreTrainedTokenizerFast:
    """The policy's tokeniser. Control tokens come only from template text, with `split_special_tokens=False`."""
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    words = word_tokeniser()
    words.add_special_tokens([AddedToken(token, normalized=False) for token in (*CONTROL, UNKNOWN_WORD)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eot>",
        unk_token=UNKNOWN_WORD,
        additional_special_tokens=["<eos>", "<sys>", "<usr>", "<bot>", "<doc>", "<judge>"],
        chat_template=CHAT_TEMPLATE,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=512,
    )


def save_tokeniser(folder: Path) -> None:
    """Write a transformers tokeniser folder."""
    chat_tokeniser().save_pretrained(folder)
