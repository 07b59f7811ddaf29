"""Drawing answers from the policy."""

from __future__ import annotations

from collections.abc import Sequence

from rlaif_core import ConfigError, Prompt, Rollouts, Sampler, Sampling


class Sample(Sampling):
    """Draw a group of answers to every prompt; the options are those of `Sampling` (top_k 0, top_p 1, min_p 0: off).

    An answer ends at the end-of-sequence token, after a `stop` string, or cut off after `max_tokens`.
    """

    __slots__ = ()

    def act(self, sampler: Sampler, prompts: Sequence[Prompt], draft: Rollouts | None) -> Rollouts:
        if draft is not None:
            raise ConfigError("sample answers prompts, not what an action before it said; put it first in [[actions]]")
        return sampler.sample(prompts, self)
