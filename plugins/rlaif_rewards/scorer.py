"""Trained classifiers and reward models behind one face, whoever trained them: pairs in, probabilities out.

`load_scorer` reads a folder that `rlaif fit` wrote, of any kind, or any sequence classifier of transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

from torch import Tensor

from rlaif_core import ConfigError, DataError
from rlaif_rewards.checkpoint import Checkpoint, Precision
from rlaif_rewards.reading import Framing, Shown

FITTED = "fit.json"
"""What `rlaif fit` says of a folder that it wrote: the kind, what is shown to it, its labels."""
FORMAT = 1
Problem = Literal["exclusive", "independent", "regression"]
"""How logits are read: one label of several (softmax), each label by itself (sigmoid), or a number and no chance."""
Pair = tuple[str, str]
"""(context, answer); the context is "" where there is none."""


class Scorer(Protocol):
    """What tells how likely each label is."""

    labels: list[str]

    def probabilities(self, pairs: Sequence[Pair]) -> list[list[float]]:
        """For each (context, answer) a probability for each label, in the order of `labels`.

        Labels that exclude one another sum to 1. A row is NaN where the model computed no number: say `Failed`.
        """


@dataclass(frozen=True, slots=True)
class Reading:
    """logits [B, labels] f32, and for each answer what to add to a reason ("" for nothing)."""

    logits: Tensor
    notes: tuple[str, ...]


class Instrument(Scorer, Protocol):
    """A scorer that also shows its raw outputs, which do not saturate, and reads whole conversations."""

    problem: Problem

    def read(self, answers: Sequence[Shown]) -> Reading:
        """The raw outputs."""


class TransformerScorer:
    """A sequence classifier of transformers."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.labels = checkpoint, checkpoint.labels
        kind = checkpoint.model.config.problem_type
        independent = kind == "multi_label_classification" or len(self.labels) == 1
        self.problem: Problem = "regression" if kind == "regression" else "independent" if independent else "exclusive"

    def read(self, answers: Sequence[Shown]) -> Reading:
        texts = self.checkpoint.encode(answers)
        return Reading(self.checkpoint.logits(texts), tuple(text.note for text in texts))

    def probabilities(self, pairs: Sequence[Pair]) -> list[list[float]]:
        return chances(self, pairs)


def chances(instrument: Instrument, pairs: Sequence[Pair]) -> list[list[float]]:
    """Probabilities from raw outputs, as every instrument gives them."""
    if instrument.problem == "regression":
        raise ConfigError("this model predicts a number, not a probability; use it as a reward model")
    logits = instrument.read([Shown(*pair) for pair in pairs]).logits.double()
    found = logits.softmax(1) if instrument.problem == "exclusive" else logits.sigmoid()
    return cast(list[list[float]], found.tolist())


def load_scorer(
    source: str,
    *,
    framing: Framing | None = None,
    append_eos: bool = False,
    max_length: int = 0,
    batch: int = 32,
    dtype: Precision = "float32",
    device: str = "auto",
) -> Instrument:
    """The instrument in the folder `source` (or of that hub id).

    framing: how an answer and its context are shown; None: as the folder was fitted, or where it does not say, the
    answer alone. A folder of `rlaif fit` refuses any other than its own. max_length: tokens that are read (0: all that
    the model takes, or that it was fitted with); batch, dtype and device are those of transformers models alone.
    """
    stated = fitted(source)
    if members := stated.get("members"):
        raise ConfigError(f"{source!r} holds several models; name one of its folders {', '.join(members)}")
    if stated and framing not in (None, stated["framing"]):
        raise ConfigError(
            f"{source!r} was fitted with framing {stated['framing']!r} and would misread {framing!r}; leave it out "
            "(with_prompt of a reward)"
        )
    framing = framing or stated.get("framing", "none")
    if stated.get("kind", "transformer") != "transformer":
        from rlaif_rewards.fit.linear import LinearScorer

        return LinearScorer.load(Path(source), device=device)
    checkpoint = Checkpoint(
        source,
        framing=framing,
        append_eos=append_eos or stated.get("append_eos", False),
        max_length=max_length or stated.get("max_length", 0),
        batch=batch,
        dtype=dtype,
        device=device,
    )
    return TransformerScorer(checkpoint)


def fitted(source: str) -> Mapping[str, Any]:
    """What `fit.json` in the folder says, checked; nothing where there is none."""
    path = Path(source, FITTED)
    if not path.is_file():
        return {}
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        made, framing = stated["format"], stated["framing"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error!r}); fit the folder again") from error
    if made != FORMAT or framing not in get_args(Framing):
        raise DataError(f"{path} is of format {made!r}, but {FORMAT} is what is read here; fit the folder again")
    return cast(Mapping[str, Any], stated)
