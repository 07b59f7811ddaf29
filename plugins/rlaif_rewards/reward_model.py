"""A trained reward model, or several as one: one number for a prompt and its answer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from rlaif_core import ConfigError, Failed, Outcome, Rollouts, Score
from rlaif_core.combining import combiner
from rlaif_core.errors import suggest
from rlaif_core.options import OptionGroup
from rlaif_rewards.averaged import averaged
from rlaif_rewards.checkpoint import Checkpoint, Precision
from rlaif_rewards.reading import Framing, Shown
from rlaif_rewards.scorer import Instrument, TransformerScorer, fitted, load_scorer


@dataclass(frozen=True, kw_only=True)
class Together(OptionGroup):
    """What several models make of an answer.

    combine: "mean"; "minimum" (the worst that any says); "soft_minimum" (-beta log E exp(-r / beta)); "uncertainty"
    (the mean less `penalty` times the variance between them): Coste et al. 2023. average: one model with the mean of
    their weights in their place, for models that were trained from one start (WARM, Rame et al. 2024).
    """

    combine: Literal["mean", "minimum", "soft_minimum", "uncertainty"] = "mean"
    beta: float = 1.0
    penalty: float = 1.0
    average: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.beta < math.inf or not 0 <= self.penalty < math.inf:
            raise ConfigError(
                f"reward_model: beta is {self.beta:g} and penalty {self.penalty:g}; beta must be above 0, penalty at "
                "least 0, and both finite"
            )


class RewardModel:
    """scale * (r - centre), where r is what the reward model `model` (one label; a folder or a hub id) says.

    A folder of `rlaif fit` is shown what it was fitted on. Any other model reads the whole conversation in its chat
    template and is read at the last token. Show it what it was trained on: `with_prompt` may also be "joined" (prompt
    and answer as one text), "pair" or "none", and `append_eos` puts the end of sequence behind it where the template
    does not. What TRL's RewardTrainer saves is read as it was trained: on conversations by the defaults, on plain texts
    with `with_prompt = "joined"` and `append_eos = true`. Set `centre` to the mean reward of ordinary answers to keep
    advantages small. What exceeds `max_length` (0: the model's) is cut at the beginning, and the reason says so.

    Of a list of models, of one scale, r is what they say together: `combine`, with `beta` or `penalty`, or `average`.
    head: the label to read of a model that has several; one trained with the heads "quality" and "length", of which
    the second took up what goes with length, is read at "quality" (ODIN, Chen et al. 2024).
    """

    def __init__(
        self,
        model: str | list[str],
        head: str = "",
        with_prompt: Framing | None = None,
        append_eos: bool = False,
        centre: float = 0.0,
        scale: float = 1.0,
        max_length: int = 0,
        batch: int = 32,
        dtype: Precision = "float32",
        device: str = "auto",
        together: Together = Together(),
    ) -> None:
        if not (math.isfinite(centre) and math.isfinite(scale)):
            raise ConfigError(
                f"reward_model: centre is {centre:g} and scale {scale:g}, but both must be finite numbers"
            )
        sources = [model] if isinstance(model, str) else model
        if not sources:
            raise ConfigError("reward_model: the list of models is empty; name one at least")
        loaded = (
            load_scorer(
                source,
                framing=with_prompt or (None if fitted(source) else "chat"),
                append_eos=append_eos,
                max_length=max_length,
                batch=batch,
                dtype=dtype,
                device=device,
            )
            for source in sources
        )
        self.scorers = [_averaged(loaded, sources)] if together.average else list(loaded)
        self._columns = [_column(*its, head) for its in zip(self.scorers, sources, strict=False)]
        self._combine = combiner(together.combine, beta=together.beta, penalty=together.penalty, below=0.0)
        self._how = together.combine
        self.centre, self.scale = centre, scale

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        notes: list[str] = []
        said: list[Tensor] = []
        answers = Shown.all_of(rollouts)
        for scorer, column in zip(self.scorers, self._columns, strict=True):
            read = scorer.read(answers)
            notes = [before or note for before, note in zip(notes or [""] * len(answers), read.notes, strict=True)]
            said.append(read.logits[:, column])
        rows = zip(*(its.tolist() for its in said), strict=True)
        return [self._outcome(rewards, note) for rewards, note in zip(rows, notes, strict=True)]

    def _outcome(self, rewards: tuple[float, ...], note: str) -> Outcome:
        broken = [reward for reward in rewards if not math.isfinite(reward)]
        if broken:
            return Failed(f"the reward model computed {broken[0]}; its weights or its precision (dtype) are at fault")
        reward = self._combine(rewards, [1.0] * len(rewards))
        told = f"the reward model says {reward:.3f}"
        if len(rewards) > 1:
            told = f"the reward models say {', '.join(f'{its:.3f}' for its in rewards)}: {self._how} {reward:.3f}"
        return Score(self.scale * (reward - self.centre), told + note)


def _averaged(loaded: Iterable[Instrument], sources: Sequence[str]) -> Instrument:
    """One model with the mean of the weights of all."""

    def checkpoints() -> Iterator[Checkpoint]:
        for scorer, source in zip(loaded, sources, strict=True):
            if not isinstance(scorer, TransformerScorer):
                raise ConfigError(
                    f"reward_model: {source!r} is no transformer, whose weights could be averaged; combine"
                )
            yield scorer.checkpoint

    return TransformerScorer(averaged(checkpoints(), sources))


def _column(scorer: Instrument, model: str, head: str) -> int:
    labels = scorer.labels
    if head:
        if labels.count(head) != 1:
            raise ConfigError(
                f"{model!r} has no head {head!r}{suggest(head, labels) or '.'} Heads: {', '.join(labels)}"
            )
        return labels.index(head)
    if len(labels) != 1:
        raise ConfigError(
            f"{model!r} has {len(labels)} labels ({', '.join(labels)}), a reward model has one; name it with 'head', "
            "or use 'classifier'"
        )
    return 0
