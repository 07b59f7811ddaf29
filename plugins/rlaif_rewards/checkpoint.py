"""A sequence-classification checkpoint as a measuring instrument: frozen; answers in, float32 logits out.

What it reads is what it was given, never its own padding, and never a control token that somebody wrote into a text.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rlaif_core import ConfigError, Prompt, Rollouts
from rlaif_core.errors import blame, first_line
from rlaif_core.policy import device_of, quiet

Framing = Literal["none", "pair", "joined", "chat"]
"""How an answer is shown: alone; as a pair with its prompt's text; right behind that text; in the chat template."""
Precision = Literal["float32", "bfloat16", "float16"]


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


class Checkpoint:
    """A sequence classifier and its tokeniser, from a folder or a hub id.

    Refused: weights that are no safetensors, a head that would be random, a tokeniser with more tokens than the model
    has embeddings. Texts longer than `max_length` (0: than the model takes) are cut at the end, or at the beginning
    where the framing puts the answer at the end.
    """

    def __init__(
        self,
        source: str,
        *,
        framing: Framing,
        append_eos: bool = False,
        max_length: int = 0,
        batch: int = 32,
        dtype: Precision = "float32",
        device: str = "auto",
    ) -> None:
        if batch < 1 or max_length < 0:
            raise ConfigError("batch must be at least 1, max_length 0 (as much as the model takes) or more")
        self.device = device_of(device)
        self.model, self.tokeniser = _loaded(source, dtype)
        if framing == "chat" and not self.tokeniser.chat_template:
            raise ConfigError(f"{source!r} has no chat template; set with_prompt to 'joined', 'pair' or 'none'")
        if append_eos and self.tokeniser.eos_token_id is None:
            raise ConfigError(f"append_eos: the tokeniser of {source!r} has no end-of-sequence token")
        self.tokeniser.truncation_side = "left" if framing in ("joined", "chat") else "right"
        self.model = self.model.to(self.device).eval().requires_grad_(False)
        self.labels = _labels(source, self.model.config.id2label)
        self._framing, self._append_eos, self._batch = framing, append_eos, batch
        takes = min(self.tokeniser.model_max_length, _positions(self.model))
        self._limit = min(max_length or takes, takes) - append_eos
        self._control = [str(token) for token in self.tokeniser.added_tokens_decoder.values() if token.special]

    def encode(self, rollouts: Rollouts) -> list[Encoded]:
        """Each answer as the model shall read it."""
        rows = []
        for prompt, completion in zip(rollouts.prompts, rollouts.completions, strict=True):
            with blame(f"prompt {prompt.id!r}"):
                rows.append(self._encoded(self._framed(prompt, completion)))
        return rows

    def encode_pair(self, context: str, answer: str) -> Encoded:
        """An answer and the text that it answers, as the model shall read them."""
        shown = {"none": (answer,), "pair": (context, answer), "joined": (context + answer,)}
        if self._framing == "chat":
            return self._encoded(self._framed(Prompt(id="a pair", text=context or " "), answer))
        return self._encoded(tuple(self._defused(text) for text in shown[self._framing]))

    def logits(self, texts: Sequence[Encoded]) -> Tensor:
        """[B, labels] f32 on the CPU; the company in which a text comes makes no difference."""
        found = torch.empty(len(texts), len(self.labels))
        order = sorted(range(len(texts)), key=lambda row: len(texts[row].tokens))
        for start in range(0, len(order), self._batch):
            rows = order[start : start + self._batch]
            found[rows] = self._forward([texts[row] for row in rows])
        return found

    def _framed(self, prompt: Prompt, completion: str) -> tuple[str, ...]:
        answer, question = self._defused(completion), self._defused(prompt.text)
        if self._framing == "chat":
            asked = prompt.messages or ({"role": "user", "content": prompt.text},)
            said = [*asked, {"role": "assistant", "content": completion}]
            messages = [{**message, "content": self._defused(message["content"])} for message in said]
            return (self.tokeniser.apply_chat_template(messages, tokenize=False),)
        framed = {"none": (answer,), "pair": (question, answer), "joined": (question + answer,)}
        return framed[self._framing]

    def _defused(self, text: str) -> str:
        """The text with an invisible character inside what would else be read as a control token."""
        for token in self._control:
            text = text.replace(token, f"{token[0]}\u2060{token[1:]}")
        return text

    def _encoded(self, texts: tuple[str, ...]) -> Encoded:
        options = {"add_special_tokens": self._framing != "chat", "return_token_type_ids": True}
        whole = self.tokeniser(*texts, **options, verbose=False)
        cut = max(len(whole.input_ids) - self._limit, 0)
        read = self.tokeniser(*texts, **options, truncation=True, max_length=self._limit) if cut else whole
        tokens, kinds = list(read.input_ids), list(read.token_type_ids)
        if not tokens:
            tokens, kinds = [_first_of(self.tokeniser.bos_token_id, self.tokeniser.eos_token_id, 0)], [0]
        if self._append_eos and tokens[-1] != self.tokeniser.eos_token_id:
            tokens, kinds = [*tokens, self.tokeniser.eos_token_id], [*kinds, kinds[-1]]
        return Encoded(tokens, kinds, cut)

    @torch.no_grad()
    def _forward(self, texts: Sequence[Encoded]) -> Tensor:
        width = max(len(text.tokens) for text in texts)

        def padded(name: str, filler: int) -> Tensor:
            rows = [[*getattr(text, name), *[filler] * (width - len(text.tokens))] for text in texts]
            return torch.tensor(rows, device=self.device)

        lengths = torch.tensor([[len(text.tokens)] for text in texts], device=self.device)
        inputs = {
            "input_ids": padded("tokens", self._padding({text.tokens[-1] for text in texts})),
            "attention_mask": (torch.arange(width, device=self.device) < lengths).long(),
        }
        if getattr(self.model.config, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = padded("kinds", 0)
        logits: Tensor = self.model(**inputs).logits
        return logits.float().cpu()

    def _padding(self, last: set[int]) -> int:
        """An id to pad with that no text ends in.

        Decoders are read at each row's last token that is not the padding id. Where padding and the end of sequence
        share an id (or there is none for padding) that would be the wrong place, or a crash.
        """
        taken = last | {self.tokeniser.eos_token_id}
        own = self.tokeniser.pad_token_id
        free = next(token for token in range(len(taken) + 1) if token not in taken)
        padding = free if own is None or own in taken else own
        self.model.config.pad_token_id = self.model.config.get_text_config().pad_token_id = padding
        return padding


def _labels(source: str, named: Mapping[int, Any]) -> list[str]:
    """The labels in the order of the model's outputs, which are as many."""
    if sorted(named) != list(range(len(named))):
        numbers = ", ".join(map(str, sorted(named)))
        raise ConfigError(
            f"{source!r} has {len(named)} labels, but numbers them {numbers}; number them from 0 to {len(named) - 1}, "
            "as its outputs are, in id2label of its config.json"
        )
    return [str(named[number]) for number in range(len(named))]


def _loaded(source: str, dtype: Precision) -> tuple[Any, Any]:
    try:
        with quiet():
            tokeniser = AutoTokenizer.from_pretrained(source)
            model, found = AutoModelForSequenceClassification.from_pretrained(
                source, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
        where = "" if Path(source).is_dir() else f" (there is no such folder in {Path.cwd()}, so the hub was asked)"
        raise ConfigError(
            f"{source!r} cannot be loaded as a sequence classifier{where}: {first_line(error)}"
        ) from error
    if missing := sorted(found["missing_keys"]):
        raise ConfigError(
            f"{source!r} is no trained sequence classifier: it lacks {', '.join(missing)}, which would be random; "
            "name a checkpoint that was saved as one"
        )
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokeniser) > rows:
        raise ConfigError(f"{source!r}: the tokeniser has {len(tokeniser)} tokens, but the model {rows} embeddings")
    return model, tokeniser


def _positions(model: Any) -> int:
    """How many tokens the model has positions for; RoBERTa and its kin begin to count behind the padding's own."""
    count: int = getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
    table = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    behind = getattr(table, "padding_idx", None)
    return count if behind is None else count - behind - 1


def _first_of(*candidates: int | None) -> int:
    return next(candidate for candidate in candidates if candidate is not None)
