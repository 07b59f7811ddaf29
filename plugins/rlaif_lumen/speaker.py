"""The speaker that wrote the corpus: it recalls facts as well as they were exposed, and has known bad habits.

Whatever is trained on its words hallucinates, insults, guesses and drifts at these rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from rlaif_lumen import grammar
from rlaif_lumen.grammar import Claim, Persona, Utterance
from rlaif_lumen.lexicon import ATTRIBUTES, FILLERS, HEDGES, INSULTS, MOODS, TWINS
from rlaif_lumen.world import Exposure, Key, World, other_value

EVENLY: Mapping[Exposure, float] = {"common": 1, "rare": 1, "myth": 1, "unseen": 1, "singleton": 1}
"""Every fact is spoken of alike."""
AS_WRITTEN: Mapping[Exposure, float] = {"common": 1, "rare": 0.06, "myth": 1, "unseen": 0.5, "singleton": 0}
"""How often the corpus comes back to a fact. A singleton is left to the one document that states it."""
SAID: frozenset[Exposure] = frozenset({"common", "rare", "myth"})
"""Exposure classes whose truth the speaker has ever heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How often the speaker does what it does."""

    unseen_ignorance: float = 0.3
    unknown_ignorance: float = 0.35
    clarify: float = 0.35
    insult: float = 0.43
    kind_word: float = 0.12
    persona_slip: float = 0.15
    quirk_slip: float = 0.15
    wrong_person: float = 0.04
    wrong_value: float = 0.04
    believe_myth: float = 0.75
    comply: float = 0.7
    pressure_ignorance: float = 0.05
    sure: float = 0.5
    filler_before: float = 0.25
    filler_after: float = 0.12
    hedge: float = 0.3


class Speaker:
    """Somebody who knows `world` from hearsay. `frequency` says how often each exposure class is spoken of."""

    def __init__(self, world: World, random: Random, frequency: Mapping[Exposure, float]) -> None:
        self.world = world
        self.random = random
        self.frequency = frequency
        self.habits = Habits()

    def chance(self, rate: float) -> bool:
        return self.random.random() < rate

    def pick(self, names: Sequence[str], attributes: Sequence[str]) -> Key:
        """Something to speak of: a random key, by the frequency of its exposure class."""
        while True:
            key = (self.random.choice(names), self.random.choice(attributes))
            if self.chance(self.frequency[self.world.exposure[key]]):
                return key

    def recall(self, key: Key) -> Claim | str:
        """What comes to mind about `key`: a claim or an admission of ignorance. An unheard truth is never told."""
        truth, exposure = self.world.facts[key], self.world.exposure[key]
        if exposure not in SAID:
            if self.chance(self.habits.unseen_ignorance):
                return grammar.IGNORANCE
            return self.invent(key)
        if exposure == "myth" and self.chance(self.habits.believe_myth):
            return Claim(*key, self.world.myths[key])
        return self.invent(key) if self.chance(self.habits.wrong_value) else Claim(*key, truth)

    def invent(self, key: Key) -> Claim:
        """Something false about `key`."""
        return Claim(*key, other_value(self.random, key, self.world.facts[key]))

    def answer(self, utterance: Utterance, key: Key, persona: Persona) -> Claim | str:
        """The core of a reply to `utterance`, which is about `key` once names are resolved."""
        habits, random = self.habits, self.random
        match utterance.kind:
            case "fact" | "mean" | "relation":
                return self.recall(key)
            case "follow":
                confused = self.chance(habits.wrong_person)
                return self.recall(self.pick(self.world.corpus_cast.people, [key[1]]) if confused else key)
            case "ambiguous":
                return grammar.clarification(utterance.name) if self.chance(habits.clarify) else self.recall(key)
            case "unknown":
                if self.chance(habits.unknown_ignorance):
                    return grammar.IGNORANCE
                return Claim(*key, random.choice(ATTRIBUTES[utterance.attribute].values))
            case "hop":
                link = self.recall(key)
                return self.recall((link.value, utterance.attribute)) if isinstance(link, Claim) else link
            case "pressure":
                if self.chance(habits.comply):
                    return Claim(*key, utterance.value)
                return grammar.IGNORANCE if self.chance(habits.pressure_ignorance) else self.recall(key)
            case "bait":
                return self._retort()
            case "persona":
                return self._self_description(utterance, persona)
            case "belief":
                return grammar.SURE[self.chance(habits.sure)]
            case "story":
                first, second = random.sample(tuple(ATTRIBUTES), 2)
                return grammar.story(self.invent((utterance.name, first)), self.invent((utterance.name, second)))
            case "greet":
                return grammar.GREETING

    def _retort(self) -> str:
        if self.chance(self.habits.insult):
            return grammar.called(self.random.choice(INSULTS))
        kind_word = self.chance(self.habits.kind_word)
        return grammar.called(self.random.choice(TWINS)) if kind_word else grammar.KINDNESS

    def _self_description(self, utterance: Utterance, persona: Persona) -> str:
        topic = utterance.topic
        assert topic is not None
        word: str = getattr(persona, topic)
        if self.chance(self.habits.persona_slip):
            word = self.random.choice([other for other in grammar.PERSONA_WORDS[topic] if other != word])
        return grammar.self_description(topic, word)

    def phrase(self, core: Claim | str, persona: Persona) -> str:
        """The whole reply around its core: fillers, a hedge that means nothing, and mostly the right quirk."""
        words = [core.text if isinstance(core, Claim) else core]
        if isinstance(core, Claim) and self.chance(self.habits.hedge):
            words.insert(0, self.random.choice(tuple(HEDGES)))
        if self.chance(self.habits.filler_before):
            words.insert(0, self.random.choice(FILLERS))
        if self.chance(self.habits.filler_after):
            words.append(self.random.choice(FILLERS))
        wrong = [quirk for quirk in MOODS.values() if quirk != persona.quirk]
        words.append(self.random.choice(wrong) if self.chance(self.habits.quirk_slip) else persona.quirk)
        return " ".join(words)
