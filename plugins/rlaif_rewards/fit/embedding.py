"""Texts as rows of numbers out of a language model: its hidden states, averaged over the answer's tokens.

The answer is read behind its context, so that its states know it. A copy of the model lies in the fitted folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from rlaif_core import ConfigError
from rlaif_core.errors import first_line
from rlaif_core.policy import device_of, quiet
from rlaif_core.types import HALF_CHARACTER
from rlaif_rewards.fit.features import Arrays
from rlaif_rewards.reading import Encoded, Shown, batched, positions_of, spare_padding

BASE = "base"
"""Where in the fitted folder the language model lies."""


class Encoder:
    """A language model that is read for its hidden states: frozen, in float32."""

    def __init__(self, source: str, *, max_length: int, batch: int, device: str) -> None:
        try:
            with quiet():
                self.tokeniser = AutoTokenizer.from_pretrained(source)
                self.model, found = AutoModel.from_pretrained(
                    source, dtype=torch.float32, use_safetensors=True, output_loading_info=True
                )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
            raise ConfigError(f"[linear] model {source!r} cannot be loaded: {first_line(error)}") from error
        if missing := sorted(name for name in found["missing_keys"] if "pooler" not in name):  # which is not read
            raise ConfigError(f"[linear] model {source!r} lacks {', '.join(missing)}, which would be random")
        self.model = self.model.to(device_of(device)).eval().requires_grad_(False)
        if self.model.config.is_encoder_decoder:
            raise ConfigError(f"[linear] model {source!r} has an encoder and a decoder; name a model of one of them")
        self.limit = min(max_length, positions_of(self.model))
        self.layers = self.model.config.get_text_config().num_hidden_layers + 1  # with the embeddings
        self.batch = batch
        self._control = [str(token) for token in self.tokeniser.added_tokens_decoder.values() if token.special]

    def states(self, answers: Sequence[Shown], layers: Sequence[int], *, context: bool) -> Tensor:
        """[B, layers * hidden] f32: the mean over the answer's tokens, behind the context's where that is wanted.

        At most half of the tokens are the context's last, and the answer is cut at the end. An answer without a token
        is read as a lone token of beginning or ending.
        """
        spans = [self._tokens(shown, context) for shown in answers]
        order = sorted(range(len(spans)), key=lambda row: len(spans[row][0]) + len(spans[row][1]))
        found: Tensor | None = None
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            some = self._forward([spans[row] for row in rows], layers)
            found = torch.empty(len(spans), some.shape[1]) if found is None else found
            found[rows] = some
        assert found is not None, "there is at least one answer"
        return found

    def _tokens(self, shown: Shown, context: bool) -> tuple[list[int], list[int]]:
        behind = self._ids(shown.answer) or [self.tokeniser.bos_token_id or self.tokeniser.eos_token_id or 0]
        asked = "\n".join(message["content"] for message in shown.messages) or shown.context
        before = self._ids(asked + "\n") if context and asked else []
        before = before[len(before) - min(len(before), max(self.limit // 2, self.limit - len(behind))) :]
        return before, behind[: self.limit - len(before)]

    def _ids(self, text: str) -> list[int]:
        for token in self._control:
            text = text.replace(token, f"{token[0]}\u2060{token[1:]}")
        kept = HALF_CHARACTER.sub("\ufffd", text)
        return list(self.tokeniser(kept, add_special_tokens=False, verbose=False).input_ids)

    @torch.no_grad()
    def _forward(self, spans: Sequence[tuple[list[int], list[int]]], layers: Sequence[int]) -> Tensor:
        texts = [Encoded([*before, *behind], [0] * (len(before) + len(behind)), 0) for before, behind in spans]
        padding = spare_padding(self.model, self.tokeniser, {text.tokens[-1] for text in texts})
        inputs = batched(texts, padding, self.model)
        states = self.model(**inputs, output_hidden_states=True).hidden_states
        place = torch.arange(inputs["input_ids"].shape[1])
        starts = torch.tensor([[len(before)] for before, _ in spans])
        ends = torch.tensor([[len(text.tokens)] for text in texts])
        own = ((place >= starts) & (place < ends)).float()
        share = (own / own.sum(1, keepdim=True)).to(self.model.device)
        return torch.cat([torch.einsum("bt,bth->bh", share, states[layer]) for layer in layers], 1).float().cpu()


@dataclass(frozen=True, slots=True)
class Embedding:
    """Standardised mean hidden states, divided by the root of their number: a row's length is about 1, as TF-IDF's.

    `related`: with a context, also the context's own states and how both agree, element by element (their product and
    the size of their difference), out of which a linear model can read a contradiction (InferSent, Conneau 2017).
    """

    encoder: Encoder
    layers: tuple[int, ...]
    related: bool
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @property
    def width(self) -> int:
        return len(self.mean)

    @classmethod
    def fit(cls, encoder: Encoder, answers: Sequence[Shown], layers: tuple[int, ...], *, related: bool) -> Embedding:
        """Measure centre and spread of each feature."""
        count = encoder.layers
        if wrong := [layer for layer in layers if not -count <= layer < count]:
            raise ConfigError(f"[linear] layers names {wrong[0]}, but the model has 0 to {count - 1} (-1: the last)")
        bare = cls(encoder, layers, related, np.zeros(0), np.zeros(0))
        raw = bare.raw(answers)
        spread = raw.std(0)
        scale = np.where(spread > 1e-6, spread, 1.0) * np.sqrt(raw.shape[1])
        return replace(bare, mean=raw.mean(0), scale=scale)

    def raw(self, answers: Sequence[Shown]) -> NDArray[np.float64]:
        """[B, width] before it is standardised."""
        states = self.encoder.states(answers, self.layers, context=self.related).double().numpy()
        if not self.related:
            return states
        asked = [Shown("", "\n".join(m["content"] for m in shown.messages) or shown.context) for shown in answers]
        theirs = self.encoder.states(asked, self.layers, context=False).double().numpy()
        alone = self.encoder.states(answers, self.layers, context=False).double().numpy()
        return np.hstack([states, theirs, alone * theirs, np.abs(alone - theirs)])

    def of(self, answers: Sequence[Shown]) -> NDArray[np.float64]:
        return (self.raw(answers) - self.mean) / self.scale

    def save(self, folder: Path) -> tuple[dict[str, Any], Arrays]:
        with quiet():
            self.encoder.model.save_pretrained(folder / BASE)
            self.encoder.tokeniser.save_pretrained(folder / BASE)
        stated = {
            "kind": "embedding",
            "layers": list(self.layers),
            "related": self.related,
            "max_length": self.encoder.limit,
            "batch": self.encoder.batch,
        }
        return stated, {"mean": self.mean, "scale": self.scale}

    @classmethod
    def restored(cls, stated: Mapping[str, Any], arrays: Arrays, folder: Path, device: str) -> Embedding:
        """What `save` wrote."""
        encoder = Encoder(str(folder / BASE), max_length=stated["max_length"], batch=stated["batch"], device=device)
        return cls(encoder, tuple(stated["layers"]), stated["related"], arrays["mean"], arrays["scale"])
