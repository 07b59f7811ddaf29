"""Answers that somebody else gave: offline data through the same five verbs."""

from __future__ import annotations

from collections.abc import Sequence

from rlaif_builtins.recordings import Columns
from rlaif_core import ConfigError, Prompt, Rollouts, Sampler


class Replay(Columns):
    """Take the answers recorded in the dataset: the list in column `answers`, or one each in `chosen` and `rejected`.

    An answer is a text, or messages whose last is the answer, the assistant's. All that are recorded for a prompt make
    up its group, however many: `[prompts] group` is not read. They are scored with the policy's own log-probs.
    Combine it with the reward `recorded`, given the same columns.
    """

    __slots__ = ()

    def act(self, sampler: Sampler, prompts: Sequence[Prompt], draft: Rollouts | None) -> Rollouts:
        if draft is not None:
            raise ConfigError("replay reads answers from the dataset; put it first in [[actions]], without sample")
        return sampler.recorded(prompts, [self.texts(prompt) for prompt in prompts])
