"""A trained reward model: one number for a prompt and its answer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlaif_core import ConfigError, Failed, Outcome, Rollouts, Score
from rlaif_rewards.checkpoint import Precision
from rlaif_rewards.reading import Framing, Shown
from rlaif_rewards.scorer import fitted, load_scorer


class RewardModel:
    """scale * (r - centre), where r is what the reward model `model` (one label; a folder or a hub id) says.

    A folder of `rlaif fit` is shown what it was fitted on. Any other model reads the whole conversation in its chat
    template and is read at the last token. Show it what it was trained on: `with_prompt` may also be "joined" (prompt
    and answer as one text), "pair" or "none", and `append_eos` puts the end of sequence behind it where the template
    does not. What TRL's RewardTrainer saves is read as it was trained: on conversations by the defaults, on plain texts
    with `with_prompt = "joined"` and `append_eos = true`. Set `centre` to the mean reward of ordinary answers to keep
    advantages small. What exceeds `max_length` (0: the model's) is cut at the beginning, and the reason says so.
    """

    def __init__(
        self,
        model: str,
        with_prompt: Framing | None = None,
        append_eos: bool = False,
        centre: float = 0.0,
        scale: float = 1.0,
        max_length: int = 0,
        batch: int = 32,
        dtype: Precision = "float32",
        device: str = "auto",
    ) -> None:
        if not (math.isfinite(centre) and math.isfinite(scale)):
            raise ConfigError(
                f"reward_model: centre is {centre:g} and scale {scale:g}, but both must be finite numbers"
            )
        self.scorer = load_scorer(
            model,
            framing=with_prompt or (None if fitted(model) else "chat"),
            append_eos=append_eos,
            max_length=max_length,
            batch=batch,
            dtype=dtype,
            device=device,
        )
        if len(labels := self.scorer.labels) != 1:
            raise ConfigError(
                f"{model!r} has {len(labels)} labels ({', '.join(labels)}), a reward model has one; use 'classifier'"
            )
        self.centre, self.scale = centre, scale

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        read = self.scorer.read(Shown.all_of(rollouts))
        rewards = read.logits[:, 0]
        pairs = zip(read.notes, rewards.tolist(), rewards.isfinite().tolist(), strict=True)
        return [self._outcome(reward, note) if fine else _broken(reward) for note, reward, fine in pairs]

    def _outcome(self, reward: float, note: str) -> Score:
        return Score(self.scale * (reward - self.centre), f"the reward model says {reward:.3f}{note}")


def _broken(reward: float) -> Failed:
    return Failed(f"the reward model computed {reward}; its weights or its precision (dtype) are at fault")
