"""A sequence-classification checkpoint as a measuring instrument: frozen; answers in, float32 logits out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rlaif_core import ConfigError
from rlaif_core.errors import first_line
from rlaif_core.policy import device_of, quiet
from rlaif_rewards.reading import Encoded, Framing, Reader, Shown, batched, positions_of, spare_padding

Precision = Literal["float32", "bfloat16", "float16"]


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
        if batch < 1:
            raise ConfigError("batch must be at least 1")
        self.device = device_of(device)
        self.model, self.tokeniser = _loaded(source, dtype)
        self.model = self.model.to(self.device).eval().requires_grad_(False)
        self.labels = _labels(source, self.model.config.id2label)
        self._batch = batch
        self.reader = Reader(
            self.tokeniser,
            source,
            framing,
            append_eos=append_eos,
            max_length=max_length,
            positions=positions_of(self.model),
        )

    def encode(self, answers: Sequence[Shown]) -> list[Encoded]:
        """Each answer as the model shall read it."""
        return [self.reader.encode(shown) for shown in answers]

    def logits(self, texts: Sequence[Encoded]) -> Tensor:
        """[B, labels] f32 on the CPU; the company in which a text comes makes no difference."""
        found = torch.empty(len(texts), len(self.labels))
        order = sorted(range(len(texts)), key=lambda row: len(texts[row].tokens))
        for start in range(0, len(order), self._batch):
            rows = order[start : start + self._batch]
            found[rows] = self._forward([texts[row] for row in rows])
        return found

    @torch.no_grad()
    def _forward(self, texts: Sequence[Encoded]) -> Tensor:
        padding = self._padding({text.tokens[-1] for text in texts})
        logits: Tensor = self.model(**batched(texts, padding, self.model)).logits
        return logits.float().cpu()

    def _padding(self, last: set[int]) -> int:
        return spare_padding(self.model, self.tokeniser, last)


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
