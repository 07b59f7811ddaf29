"""A label's score from any trained classifier: one that `rlaif fit` wrote, or a sequence classifier of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from rlaif_core import ConfigError, Failed, Outcome, Rollouts, Score
from rlaif_core.errors import suggest
from rlaif_rewards.checkpoint import Precision
from rlaif_rewards.reading import Framing, Shown
from rlaif_rewards.scorer import load_scorer

Measure = Literal["prob", "logit", "logodds"]


class Classifier:
    """How much of `label` (a name or a number) the classifier `model` (a folder or a hub id) finds in each answer.

    `score` "prob" is the label's probability, from 0 to 1; "logodds" is log p/(1-p), which does not saturate; "logit"
    is the raw output. Labels exclude one another (softmax), unless the model says that it is multi-label or has but one
    (sigmoid); `multi_label` overrides that. `negate` turns the sign, for a label that should not occur.
    `with_prompt` shows the prompt too: "pair", "joined", or "chat" (the model's chat template); of a chat, "pair" and
    "joined" take the last message; by default a folder of `rlaif fit` is shown what it was fitted on, any other model
    the answer alone. What exceeds `max_length` (0: the model's) is cut, and the reason says so.
    """

    def __init__(
        self,
        model: str,
        label: str | int = "",
        score: Measure = "prob",
        negate: bool = False,
        multi_label: bool | None = None,
        with_prompt: Framing | None = None,
        max_length: int = 0,
        batch: int = 32,
        dtype: Precision = "float32",
        device: str = "auto",
    ) -> None:
        self.scorer = load_scorer(
            model, framing=with_prompt, max_length=max_length, batch=batch, dtype=dtype, device=device
        )
        self.label = _index(label, self.scorer.labels, model)
        if self.scorer.problem == "regression" and score != "logit":
            raise ConfigError(f"{model!r} predicts a number, not a probability; set score = 'logit'")
        stated = self.scorer.problem == "independent" if multi_label is None else multi_label
        self.independent = stated or len(self.scorer.labels) == 1
        self.measure, self.negate = score, negate

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        read = self.scorer.read(Shown.all_of(rollouts))
        values = _measured(read.logits, self.label, self.measure, self.independent)
        pairs = zip(read.notes, values.tolist(), values.isfinite().tolist(), strict=True)
        return [self._outcome(value, note) if fine else _broken(value) for note, value, fine in pairs]

    def _outcome(self, value: float, note: str) -> Score:
        name = self.scorer.labels[self.label]
        said = f"{self.measure} of {name} is {value:.3f}"
        return Score(-value if self.negate else value, f"{said}{', negated' if self.negate else ''}{note}")


def _measured(logits: Tensor, label: int, measure: Measure, independent: bool) -> Tensor:
    """logits [B,L] -> [B]. A probability is the sigmoid of its log-odds, under softmax too, and exact at both ends."""
    logits = logits.double()
    if measure == "logit":
        return logits[:, label]
    odds = logits[:, label]
    if not independent:
        others = [other for other in range(logits.shape[1]) if other != label]
        odds = odds - logits[:, others].logsumexp(1)
    return odds if measure == "logodds" else torch.sigmoid(odds)


def _index(label: str | int, labels: Sequence[str], model: str) -> int:
    if label == "" and len(labels) == 1:
        return 0
    if isinstance(label, bool):  # an int as well, but of no output
        wrong = f"has no label {label}; give a name in quotes, or a number"
    elif isinstance(label, int):
        if 0 <= label < len(labels):
            return label
        wrong = f"has no label {label}"
    elif labels.count(label) == 1:
        return labels.index(label)
    elif label in labels:
        wrong = f"has several labels {label!r}; choose one by its number"
    else:
        wrong = f"has no label {label!r}{suggest(label, labels)}" if label else "has several labels; choose one"
    listed = ", ".join(f"{number}: {name}" for number, name in enumerate(labels))
    raise ConfigError(f"{model!r} {wrong}. Labels: {listed}")


def _broken(value: float) -> Failed:
    return Failed(f"the classifier computed {value}; its weights or its precision (dtype) are at fault")
