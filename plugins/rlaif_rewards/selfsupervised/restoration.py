"""Whether an answer restores what was left out of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rlaif_core import Abstain, DataError, Outcome, Prompt, Rollouts, Score
from rlaif_rewards.selfsupervised.matching import plain_words, similarity


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """How well the answer restores the span that the column `span` holds, from 0 to 1.

    `[prompts] dataset = "rlaif_rewards.selfsupervised.masking:masked"` makes such rows of any texts. match: "f1", the
    words that answer and span share (SQuAD's F1), so that a list of guesses earns little; "exact", 1 for the same words
    alone; "contains", 1 where the words of the span occur in a row: for whole sentences, but a list of guesses wins it.
    Case, articles, punctuation and the spelling of numbers do not count.
    """

    span: str = "span"
    match: Literal["f1", "exact", "contains"] = "f1"

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        return [
            self._outcome(prompt, completion)
            for prompt, completion in zip(rollouts.prompts, rollouts.completions, strict=True)
        ]

    def _outcome(self, prompt: Prompt, completion: str) -> Outcome:
        span = prompt.meta.get(self.span)
        if not isinstance(span, str):
            given = "none" if span is None else f"a {type(span).__name__}"
            raise DataError(
                f"prompt {prompt.id!r}: its column {self.span!r} must hold the text that was left out, but there is "
                f"{given}; [prompts] dataset = 'rlaif_rewards.selfsupervised.masking:masked' makes such rows"
            )
        wanted, said = plain_words(span), plain_words(completion)
        if not wanted:
            return Abstain("what was left out holds no words")
        if self.match == "contains":
            value = float(f" {' '.join(wanted)} " in f" {' '.join(said)} ")
        else:
            value = similarity(wanted, said, self.match)
        verb = "restores" if value == 1 else "restores part of" if value else "does not restore"
        return Score(value, f"{verb} {span!r:.80}")
