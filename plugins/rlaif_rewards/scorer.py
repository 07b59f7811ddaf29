"""Labels of texts from whatever can give them a probability: one interface for all rewards that are built on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from rlaif_rewards.checkpoint import Checkpoint, Framing


class Scorer(Protocol):
    """What tells how likely each label is."""

    labels: list[str]

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """For each (context, answer) a probability for each label, in the order of `labels`; an empty context is none.

        Labels that exclude one another sum to 1. A row is NaN where the model computed no number: say `Failed`.
        """


class _Transformer:
    """A sequence classifier of transformers."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint, self.labels = checkpoint, checkpoint.labels
        stated = checkpoint.model.config.problem_type == "multi_label_classification"
        self._independent = stated or len(self.labels) == 1

    def probabilities(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        rows = [self._checkpoint.encode_pair(*pair) for pair in pairs]
        logits = self._checkpoint.logits(rows).double()
        found = logits.sigmoid() if self._independent else logits.softmax(1)
        return cast(list[list[float]], found.tolist())


def load_scorer(source: str, *, framing: Framing | None = None, batch: int = 32, device: str = "auto") -> Scorer:
    """The sequence classifier in the folder `source` (or of that hub id), shown answers by `framing` (None: alone)."""
    return _Transformer(Checkpoint(source, framing=framing or "none", batch=batch, device=device))
