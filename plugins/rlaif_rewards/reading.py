"""How a text reaches a sequence model: framed, defused, cut, padded. What scores and what trains read alike.

What a model reads is what it was given, never its own padding, and never a control token that somebody wrote into a
text.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from rlaif_core import ConfigError, Prompt, Rollouts
from rlaif_core.errors import blame
from rlaif_core.types import HALF_CHARACTER

Framing = Literal["none", "pair", "joined", "chat"]
"""How an answer is shown: alone; as a pair with its prompt's text; right behind that text; in the chat template."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer and what it answers: a text ("" for none), and the whole conversation where there was one."""

    context: str
    answer: str
    messages: tuple[Mapping[str, str], ...] = ()
    name: str = "a pair"  # whom an error is about

    @classmethod
    def of(cls, prompt: Prompt, answer: str) -> Shown:
        """An answer to a prompt; of a chat the text is the last message."""
        return cls(prompt.text, answer, prompt.messages, f"prompt {prompt.id!r}")

    @classmethod
    def all_of(cls, rollouts: Rollouts) -> list[Shown]:
        """Every answer of some rollouts."""
        return [cls.of(*pair) for pair in zip(rollouts.prompts, rollouts.completions, strict=True)]

    @property
    def conversation(self) -> list[dict[str, str]]:
        """All messages, the answer last; without any context the answer alone."""
        asked = self.messages or (({"role": "user", "content": self.context},) if self.context else ())
        return [*({**message} for message in asked), {"role": "assistant", "content": self.answer}]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as the model reads it, and how many of its tokens did not fit."""

    tokens: list[int]
    kinds: list[int]
    cut: int

    @property
    def note(self) -> str:
        """What to add to a reason where something was cut."""
        return f"; {self.cut} tokens did not fit and were not read" if self.cut else ""


class Reader:
    """A tokeniser and a framing: answers in, token ids out.

    Texts longer than `max_length` (0: than the model takes, `positions`) are cut at the end, or at the beginning where
    the framing puts the answer at the end. `append_eos` puts the end of sequence behind what does not end in it.
    """

    def __init__(
        self, tokeniser: Any, source: str, framing: Framing, *, append_eos: bool, max_length: int, positions: int
    ) -> None:
        if max_length < 0:
            raise ConfigError("max_length must be at least 1, or 0 for as much as the model takes")
        if framing == "chat" and not tokeniser.chat_template:
            raise ConfigError(f"{source!r} has no chat template; set with_prompt to 'joined', 'pair' or 'none'")
        if append_eos and tokeniser.eos_token_id is None:
            raise ConfigError(f"append_eos: the tokeniser of {source!r} has no end-of-sequence token")
        tokeniser.truncation_side = "left" if framing in ("joined", "chat") else "right"
        self.tokeniser, self.framing, self.append_eos = tokeniser, framing, append_eos
        takes = min(tokeniser.model_max_length, positions)
        self.limit = min(max_length or takes, takes) - append_eos
        self._control = [str(token) for token in tokeniser.added_tokens_decoder.values() if token.special]

    def encode(self, shown: Shown) -> Encoded:
        """The answer as the model shall read it; an empty one is a lone token of beginning, or of ending."""
        with blame(shown.name):
            return self._encoded(self._framed(shown))

    def _encoded(self, texts: tuple[str, ...]) -> Encoded:
        options = {"add_special_tokens": self.framing != "chat", "return_token_type_ids": True}
        whole = self.tokeniser(*texts, **options, verbose=False)
        cut = max(len(whole.input_ids) - self.limit, 0)
        read = self.tokeniser(*texts, **options, truncation=True, max_length=self.limit) if cut else whole
        tokens, kinds = list(read.input_ids), list(read.token_type_ids)
        if not tokens:
            tokens, kinds = [_first_of(self.tokeniser.bos_token_id, self.tokeniser.eos_token_id, 0)], [0]
        if self.append_eos and tokens[-1] != self.tokeniser.eos_token_id:
            tokens, kinds = [*tokens, self.tokeniser.eos_token_id], [*kinds, kinds[-1]]
        return Encoded(tokens, kinds, cut)

    def defused(self, text: str) -> str:
        """The text with an invisible character inside what would else be read as a control token, and with a mark of
        replacement for half a character, which no tokeniser takes."""
        for token in self._control:
            text = text.replace(token, f"{token[0]}\u2060{token[1:]}")
        return HALF_CHARACTER.sub("\ufffd", text)

    def _framed(self, shown: Shown) -> tuple[str, ...]:
        answer, question = self.defused(shown.answer), self.defused(shown.context)
        if self.framing == "chat":
            messages = [{**message, "content": self.defused(message["content"])} for message in shown.conversation]
            return (self.tokeniser.apply_chat_template(messages, tokenize=False),)
        framed = {"none": (answer,), "pair": (question, answer), "joined": (question + answer,)}
        return framed[self.framing]


def spare_padding(model: Any, tokeniser: Any, last: set[int]) -> int:
    """An id to pad with that no text ends in (`last`: the ids that they do end in), told to the model too.

    Decoders are read at each row's last token that is not the padding id. Where padding and the end of sequence
    share an id (or there is none for padding) that would be the wrong place, or a crash.
    """
    taken = last | {tokeniser.eos_token_id}
    own = tokeniser.pad_token_id
    free = next(token for token in range(len(taken) + 1) if token not in taken)
    padding: int = free if own is None or own in taken else own
    model.config.pad_token_id = model.config.get_text_config().pad_token_id = padding
    return padding


def batched(texts: Sequence[Encoded], padding: int, model: Any) -> dict[str, Tensor]:
    """What the model takes: input_ids and attention_mask [B,T] int64, token types where it knows them, padded on the
    right, on its device."""
    width, device = max(len(text.tokens) for text in texts), model.device

    def padded(name: str, filler: int) -> Tensor:
        rows = [[*getattr(text, name), *[filler] * (width - len(text.tokens))] for text in texts]
        return torch.tensor(rows, device=device)

    lengths = torch.tensor([[len(text.tokens)] for text in texts], device=device)
    inputs = {
        "input_ids": padded("tokens", padding),
        "attention_mask": (torch.arange(width, device=device) < lengths).long(),
    }
    if getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = padded("kinds", 0)
    return inputs


def positions_of(model: Any) -> int:
    """How many tokens the model has positions for; RoBERTa and its kin begin to count behind the padding's own."""
    count: int = getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    behind = getattr(table, "padding_idx", None)
    return count if behind is None else count - behind - 1


def _first_of(*candidates: int | None) -> int:
    return next(candidate for candidate in candidates if candidate is not None)
