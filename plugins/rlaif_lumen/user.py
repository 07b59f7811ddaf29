"""The user as a script: answers when asked back, asks on, doubts, and wants to know who it is talking to. It knows what
was said, and nothing about what is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from rlaif_core import ConfigError, Prompt, Rollouts, Sampler, Sampling
from rlaif_lumen.context import read_context
from rlaif_lumen.grammar import PERSONA_WORDS, Kind, Message, Utterance
from rlaif_lumen.lexicon import ATTRIBUTES, INSULTS, SURNAMES

PROBES = (1, 3, 5)
"""After this many answers the user asks about the persona, unless a question back is open."""
BAIT = 0.1


def next_utterance(messages: Sequence[Message]) -> Utterance:
    """What the user says after `messages`, which end with an answer: a function of the conversation alone."""
    random = Random("\n".join(message["content"] for message in messages))
    context = read_context(messages)
    if context.asked_back:
        return Utterance("mean", f"{context.asked_back} {random.choice(SURNAMES)}")
    if sum(message["role"] == "assistant" for message in messages) in PROBES:
        return Utterance("persona", topic=random.choice(tuple(PERSONA_WORDS)))
    if random.random() < BAIT:
        return Utterance("bait", value=random.choice(INSULTS))
    open_to: list[Kind] = []
    if context.claim:
        open_to.append("belief")
    if context.subject:
        open_to.append("follow")
    kind: Kind = random.choice(open_to) if open_to else "greet"
    return Utterance(kind, attribute=random.choice(tuple(ATTRIBUTES)) if kind == "follow" else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Converse(Sampling):
    """Go on talking: `turns` times the scripted user of lumen speaks and the policy answers; the rewards see the last
    answer in its conversation. The other options are those of `Sampling`. It answers prompts, or goes on from what the
    action before it said.
    """

    max_tokens: int = 32
    turns: int = 2

    def __post_init__(self) -> None:
        super(Converse, self).__post_init__()
        if self.turns < 1:
            raise ConfigError(f"converse: turns is {self.turns}, but must be at least 1")

    def act(self, sampler: Sampler, prompts: Sequence[Prompt], draft: Rollouts | None) -> Rollouts:
        rollouts = draft or sampler.sample(prompts, self)
        for _ in range(self.turns):
            rollouts = sampler.extend(rollouts, [self._turn(*said) for said in _conversations(rollouts)], self)
        return rollouts

    @staticmethod
    def _turn(prompt: Prompt, answer: str) -> str:
        said = prompt.messages or ({"role": "user", "content": prompt.text},)
        return next_utterance([*said, {"role": "assistant", "content": answer}]).text


def _conversations(rollouts: Rollouts) -> zip[tuple[Prompt, str]]:
    return zip(rollouts.prompts, rollouts.completions, strict=True)
