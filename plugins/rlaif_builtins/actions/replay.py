"""Answers that somebody else gave: offline data through the same five verbs."""

from __future__ import annotations

from collections.abc import Sequence

from rlaif_core import ConfigError, Prompt, Rollouts, Sampler
from rlaif_core.recordings import recordings


class Replay:
    """Take the answers that the dataset records, in any of the formats that `[prompts]` knows.

    All that are recorded for a prompt make up its group, however many: `[prompts] group` is not read. They are scored
    with the policy's own log-probs. Combine it with the reward `recorded`.
    """

    def act(self, sampler: Sampler, prompts: Sequence[Prompt], draft: Rollouts | None) -> Rollouts:
        if draft is not None:
            raise ConfigError("replay reads answers from the dataset; put it first in [[actions]], without sample")
        return sampler.recorded(prompts, [[its.text for its in recordings(prompt)] for prompt in prompts])
