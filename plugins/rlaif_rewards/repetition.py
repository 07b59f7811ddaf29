"""Saying the same thing again and again: within an answer, after the prompt, or as its siblings do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from rlaif_core import Abstain, ConfigError, Outcome, Prompt, Rollouts, Score
from rlaif_rewards.words import Unit, counted, split

Grams = Counter[tuple[Hashable, ...]]
Against = Literal["itself", "prompt", "siblings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """Penalty for runs of `n` units (n-grams) that an answer repeats, from -1 to 0.

    `against` "itself": -(1 - distinct n-grams / n-grams), above -1 (rep-n of Welleck et al., 2020, Neural text
    generation with unlikelihood training). "prompt": minus the share of its n-grams that the prompt holds, all
    messages of it (what the novel n-grams of See et al., 2017, Get to the point, leave). "siblings": minus the mean,
    over the other answers to the prompt, of the share of its n-grams that the other holds, so that a group which says
    the same in the same words is told to differ; an answer without siblings gets no opinion.
    An answer shorter than `n` repeats nothing. `unit` is "words", "tokens" (not of the prompt) or "characters".
    """

    n: int = 3
    unit: Unit = "words"
    against: Against = "itself"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"repetition: n is {self.n}, but must be at least 1")
        if self.against == "prompt" and self.unit == "tokens":
            raise ConfigError("repetition: a prompt is told in words or characters; set unit to one of them")

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        said = [self._grams(items) for items in counted(rollouts, self.unit)]
        if self.against == "prompt":
            asked = {prompt.id: self._asked(prompt) for prompt in rollouts.prompts}
            pairs = zip(said, rollouts.prompts, strict=True)
            return [self._copied(grams, asked[prompt.id], "occur in the prompt") for grams, prompt in pairs]
        if self.against == "siblings":
            return self._shared(said, rollouts.group.tolist())
        return [self._repeated(grams) for grams in said]

    def _grams(self, items: Sequence[Hashable]) -> Grams:
        return Counter(tuple(items[start : start + self.n]) for start in range(len(items) - self.n + 1))

    def _asked(self, prompt: Prompt) -> Grams:
        texts = [prompt.text, *(message["content"] for message in prompt.messages)]
        assert self.unit != "tokens"  # refused above
        return sum((self._grams(split(text, self.unit)) for text in texts), Grams())

    def _repeated(self, grams: Grams) -> Score:
        total = grams.total()
        if total == len(grams):
            return Score(0.0, f"none of {total} runs of {self.n} {self.unit} repeats")
        run, times = grams.most_common(1)[0]
        repeated = total - len(grams)
        said = f"{repeated} of {total} runs of {self.n} {self.unit} repeat: {_spelled(run)} {times} times"
        return Score(-repeated / total, said)

    def _copied(self, grams: Grams, other: Grams, where: str) -> Score:
        total = grams.total()
        copied = sum(times for run, times in grams.items() if run in other)
        if not copied:
            return Score(0.0, f"none of {total} runs of {self.n} {self.unit} {where}")
        example = max((run for run in grams if run in other), key=lambda run: grams[run])
        said = f"{copied} of {total} runs of {self.n} {self.unit} {where}, as {_spelled(example)}"
        return Score(-copied / total, said)

    def _shared(self, said: Sequence[Grams], groups: Sequence[int]) -> list[Outcome]:
        """Who holds a run is counted once a group, so that a large one costs no comparison of all pairs."""
        held: dict[int, Grams] = {}
        for grams, label in zip(said, groups, strict=True):
            held.setdefault(label, Grams()).update(grams.keys())
        others = Counter(groups)
        return [self._mean(grams, held[label], others[label] - 1) for grams, label in zip(said, groups, strict=True)]

    def _mean(self, grams: Grams, held: Grams, others: int) -> Outcome:
        if not others:
            return Abstain("there is no other answer to compare with")
        total = grams.total()
        shared = sum(times * (held[run] - 1) for run, times in grams.items()) / others
        if not shared:
            return Score(0.0, f"none of {total} runs of {self.n} {self.unit} occurs in the {others} other answers")
        example = max(grams, key=lambda run: held[run])
        share = f"{shared:.3g} of {total} runs of {self.n} {self.unit}"
        return Score(-shared / total, f"{share} occur in another answer, the mean of {others}, as {_spelled(example)}")


def _spelled(run: tuple[Hashable, ...]) -> str:
    return repr(" ".join(str(item) for item in run))
