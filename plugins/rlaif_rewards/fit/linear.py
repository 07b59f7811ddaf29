"""A linear model over the features of a text, as a scorer: fitted by scikit-learn, read and scored without it.

Its folder holds `fit.json` (kinds of features, vocabularies, labels) and `weights.safetensors`, and for features out
of a language model that model too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rlaif_core import DataError
from rlaif_rewards.fit.features import Features, restored
from rlaif_rewards.reading import Shown
from rlaif_rewards.scorer import Pair, Problem, Reading, chances, fitted

WEIGHTS = "weights.safetensors"
Array = NDArray[np.float64]


@dataclass(slots=True)
class LinearScorer:
    """logits = features(text) @ weight.T + bias; weight [labels, features] and bias [labels], float64.

    Two labels that exclude one another have a row of zeros for the first, so that their softmax is the logistic
    regression's sigmoid.
    """

    labels: list[str]
    problem: Problem
    features: Features
    weight: Array
    bias: Array

    def logits(self, answers: Sequence[Shown]) -> Array:
        """[B, labels]."""
        return np.asarray(self.features.of(answers) @ self.weight.T) + self.bias

    def read(self, answers: Sequence[Shown]) -> Reading:
        logits = torch.from_numpy(self.logits(answers)).float()
        return Reading(logits, tuple(self.features.note(shown) for shown in answers))

    def probabilities(self, pairs: Sequence[Pair]) -> list[list[float]]:
        return chances(self, pairs)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the weights; what belongs into `fit.json` is returned."""
        described, arrays = self.features.save(folder)
        save_file({"weight": self.weight, "bias": self.bias, **arrays}, folder / WEIGHTS)
        return {"problem": self.problem, "labels": self.labels, "features": described}

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto") -> LinearScorer:
        """From a folder that `save` wrote; device is for a language model that gives features."""
        stated: Mapping[str, Any] = fitted(str(folder))
        try:
            arrays = load_file(folder / WEIGHTS)
            features = restored(stated["features"], arrays, folder, device)
            weight, bias = arrays["weight"], arrays["bias"]
            labels, problem = list(stated["labels"]), stated["problem"]
        except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise DataError(f"{folder} is no whole folder of `rlaif fit` ({error!r}); fit it again") from error
        if weight.shape != (len(labels), features.width) or bias.shape != (len(labels),):
            raise DataError(
                f"{folder}: weights of {weight.shape} do not fit {len(labels)} labels and {features.width} features; "
                "fit it again"
            )
        return cls(labels, problem, features, weight, bias)
