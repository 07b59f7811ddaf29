"""Whether the same question, put otherwise, gets the same answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import regex

from rlaif_core import Abstain, ConfigError, DataError, Failed, Outcome, Prompt, Rollouts, Score
from rlaif_rewards.selfsupervised.matching import Match, plain_words, similarity

Words = tuple[str, ...]
PATIENCE = 1
"""Seconds that `extract` may take for one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParaphraseAgreement:
    """Agreement with the answers to other paraphrases of the question, less agreement with those to other questions.

    From -1 to 1: the mean `match` ("exact" or "f1") with every answer in the batch to another paraphrase of the same
    question, minus that with every answer to another question. So an answer that fits any question, or none, earns 0
    or less, and a policy that answers every question alike gets exactly 0. `extract`, a regular expression, finds what
    is compared (its last match, or the first group of it; an answer without one agrees with nothing); without it the
    whole answer is. Columns: `question` tells questions apart, `paraphrase` their wordings (`dataset =
    "rlaif_rewards.selfsupervised.paraphrasing:paraphrased"` makes such rows). An answer gets no opinion where the batch
    holds no other paraphrase, or no other question: set `[prompts] shuffle = false`, and `batch` to several times the
    number of paraphrases. Agreement is no truth: what is wrong and said every time is rewarded as well, and to admit
    ignorance, of everything in the same words, is not: add a reward for that.
    """

    question: str = "question"
    paraphrase: str = "paraphrase"
    extract: str = ""
    match: Match = "exact"

    def __post_init__(self) -> None:
        try:
            regex.compile(self.extract)
        except regex.error as error:
            raise ConfigError(
                f"paraphrase_agreement: extract {self.extract!r} is no regular expression ({error})"
            ) from None

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        asked = [(self._of(prompt, self.question), self._of(prompt, self.paraphrase)) for prompt in rollouts.prompts]
        said = [self._said(completion) for completion in rollouts.completions]
        alike = cache(lambda one, other: similarity(one, other, self.match))
        return [self._outcome(row, asked, said, alike) for row in range(len(said))]

    def _outcome(self, row: int, asked: Sequence[tuple[Any, Any]], said: Sequence[Words | None], alike: Any) -> Outcome:
        if said[row] is None:
            return Failed(f"extract found nothing within {PATIENCE} s; mend the pattern, which backtracks too much")
        question, wording = asked[row]
        heard = [at for at, words in enumerate(said) if words is not None]
        others = [at for at in heard if asked[at][0] != question]
        siblings = [at for at in heard if asked[at][0] == question and asked[at][1] != wording]
        if not siblings:
            return Abstain(
                "no other paraphrase of its question is in the batch; set [prompts] shuffle = false, and batch to a "
                "multiple of the number of paraphrases"
            )
        if not others:
            return Abstain("no other question is in the batch; raise [prompts] batch")
        if not said[row]:
            return Score(0.0, "there is nothing in it to agree with")
        own, chance = (sum(alike(said[row], said[at]) for at in its) / len(its) for its in (siblings, others))
        return Score(
            own - chance, f"agrees {own:.0%} with {len(siblings)} answers to its question, {chance:.0%} with others"
        )

    def _of(self, prompt: Prompt, column: str) -> Any:
        value = prompt.meta.get(column)
        if not isinstance(value, str | int | float):
            raise DataError(
                f"prompt {prompt.id!r}: its column {column!r} must hold a text or a number, but there is "
                f"{value!r:.40}; "
                "[prompts] dataset = 'rlaif_rewards.selfsupervised.paraphrasing:paraphrased' makes such rows"
            )
        return value

    def _said(self, completion: str) -> Words | None:
        """What is compared of an answer; None where it took too long to find."""
        if not self.extract:
            return plain_words(completion)
        try:
            matches = deque(regex.finditer(self.extract, completion, timeout=PATIENCE), maxlen=1)
        except TimeoutError:
            return None
        return plain_words(matches[0][min(matches[0].re.groups, 1)] or "") if matches else ()
