"""Texts as vectors: the mean of a model's last hidden states, scaled to length 1, so that products are cosines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from rlaif_core import ConfigError
from rlaif_core.errors import first_line
from rlaif_core.policy import device_of, quiet
from rlaif_core.types import HALF_CHARACTER


class Embedder:
    """The trunk of any transformers model, in a folder or by its hub id; texts are cut where they do not fit."""

    def __init__(self, source: str, *, device: str = "auto", batch: int = 32) -> None:
        self.device, self._batch = device_of(device), batch
        try:
            with quiet():
                self._tokeniser: Any = AutoTokenizer.from_pretrained(source)
                self._model: Any = AutoModel.from_pretrained(source, dtype=torch.float32, use_safetensors=True)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
            raise ConfigError(f"{source!r} cannot be loaded as a model of texts: {first_line(error)}") from error
        self._model = self._model.to(self.device).eval().requires_grad_(False)
        positions = getattr(self._model.config.get_text_config(), "max_position_embeddings", None) or 512
        self._limit = min(self._tokeniser.model_max_length, positions)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """[B,H] f32 on the CPU, rows of length 1; a text without a token is all 0, and near nothing."""
        ids = [self._tokens(text) for text in texts]
        found = torch.zeros(len(texts), self._model.config.get_text_config().hidden_size)
        order = sorted((row for row in range(len(ids)) if ids[row]), key=lambda row: len(ids[row]))
        for start in range(0, len(order), self._batch):
            rows = order[start : start + self._batch]
            found[rows] = self._means([ids[row] for row in rows])
        return torch.nn.functional.normalize(found, dim=1)

    def _tokens(self, text: str) -> list[int]:
        whole = HALF_CHARACTER.sub("\ufffd", text)
        read: list[int] = self._tokeniser(whole, truncation=True, max_length=self._limit, verbose=False).input_ids
        return read

    def _means(self, ids: Sequence[list[int]]) -> Tensor:
        width = max(map(len, ids))
        tokens = torch.tensor([[*row, *[0] * (width - len(row))] for row in ids], device=self.device)
        lengths = torch.tensor([[len(row)] for row in ids], device=self.device)
        read = torch.arange(width, device=self.device) < lengths
        states: Tensor = self._model(input_ids=tokens, attention_mask=read.long()).last_hidden_state
        return ((states * read[..., None]).sum(1) / lengths).float().cpu()
