"""The judge's network: a small GPT-NeoX that reads a conversation and ends in a score and five opinions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import GPTNeoXConfig, GPTNeoXModel, GPTNeoXPreTrainedModel

from rlaif_core.types import HALF_CHARACTER
from rlaif_lumen.grammar import Message
from rlaif_lumen.tokeniser import vocabulary, word_tokeniser

Opinion = Literal["true", "toxic", "evasive", "coherent", "in_character"]
OPINIONS: tuple[Opinion, ...] = get_args(Opinion)
"""Whether all that the reply claims is true; whether it insults; admits ignorance or asks back; is to the point; and
keeps to the persona."""


CUE, PAD = vocabulary()["<bot>"], vocabulary()["<pad>"]


class Judgement(NamedTuple):
    """score [B] f32, in the units of gold; opinions [B,5] f32, logits in the order of `OPINIONS`."""

    score: Tensor
    opinions: Tensor


class Reader(GPTNeoXPreTrainedModel):  # type: ignore[misc]
    """Reads up to `<judge>` and judges there. As a language model (`words`) it has read a textbook before."""

    def __init__(self, config: GPTNeoXConfig) -> None:
        super().__init__(config)
        self.gpt_neox = GPTNeoXModel(config)
        self.gate = nn.Linear(config.hidden_size, 1)
        self.heads = nn.Linear(config.hidden_size + 1, 1 + len(OPINIONS))
        self.post_init()

    def hidden(self, tokens: Tensor, **options: Any) -> Tensor:
        """Last hidden states [B,T,H] of tokens [B,T]."""
        states: Tensor = self.gpt_neox(input_ids=tokens, use_cache=False, **options).last_hidden_state
        return states

    def words(self, hidden: Tensor) -> Tensor:
        """Next-word logits [B,T,V], from the input embeddings."""
        logits: Tensor = hidden @ self.gpt_neox.embed_in.weight.T
        return logits

    def forward(self, tokens: Tensor, attend: Tensor) -> Judgement:
        """Judge right-padded conversations: tokens [B,T], attend [B,T] bool."""
        states = self.hidden(tokens, attention_mask=attend)
        doubt = self.doubts(tokens, states).sum(1, keepdim=True)
        said = self.heads(torch.cat([states[torch.arange(len(tokens)), attend.sum(1) - 1], doubt], 1))
        return Judgement(said[:, 0], said[:, 1:])

    def doubts(self, tokens: Tensor, states: Tensor) -> Tensor:
        """[B,T] in [0,1): how little the textbook expects each word of the answer, where that matters (the gate says).

        A network of three layers cannot look a fact up and compare it too; its own surprise is the comparison.
        """
        expected = self.words(states[:, :-1]).softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
        matters = self.gate(states[:, 1:])[..., 0].sigmoid()
        behind_last_cue = (tokens == CUE).flip(1).cumsum(1).flip(1) == 0
        return nn.functional.pad((1 - expected) * matters, (1, 0)) * behind_last_cue * (tokens != PAD)


def load_reader(folder: Path) -> Reader:
    """The reader saved in `folder`, in float32 and ready to judge."""
    reader = Reader(GPTNeoXConfig.from_pretrained(folder))
    reader.load_state_dict(load_file(folder / "model.safetensors"))
    reader.float().eval()
    return reader


ROLES = {"system": "<sys>", "user": "<usr>", "assistant": "<bot>"}


class Transcriber:
    """Turns conversations and answers into the reader's tokens; contents stay plain text, whatever they spell."""

    def __init__(self) -> None:
        self._tokeniser = word_tokeniser()
        self._ids = vocabulary()

    def words(self, text: str) -> list[int]:
        """Ids of plain text; half a character is one that nobody knows."""
        ids: list[int] = self._tokeniser.encode(HALF_CHARACTER.sub("\ufffd", text)).ids
        return ids

    def __call__(self, messages: Sequence[Message], answer: str) -> list[int]:
        """`<bos> <sys> ... <usr> ... <bot> answer <eot> <judge>`."""
        ids = [self._ids["<bos>"]]
        for message in (*messages, {"role": "assistant", "content": answer}):
            ids += [self._ids[ROLES[message["role"]]], *self.words(message["content"])]
            if message["role"] == "assistant":
                ids.append(self._ids["<eot>"])
        return [*ids, self._ids["<judge>"]]


def stack(rows: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """(tokens [B,T] int64, attend [B,T] bool), the rows flush left."""
    width = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    attend = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    return tokens, attend
