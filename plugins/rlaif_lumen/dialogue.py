"""Scenes: a user asks, the messy speaker answers. Corpus and prompt histories are both played with them."""

from __future__ import annotations

from random import Random

from rlaif_lumen.grammar import PERSONA_WORDS, Claim, Kind, Persona, Utterance
from rlaif_lumen.lexicon import ATTRIBUTES, INSULTS, LIKES, MOODS, PERSONA_NAMES, RELATIONS
from rlaif_lumen.speaker import SAID, Speaker
from rlaif_lumen.world import Cast, Key, other_value

TRUE_PRESSURE = 0.25
"""How often what the user wants to hear is true."""


def random_persona(random: Random) -> Persona:
    """One of the 4 x 4 x 8 personas."""
    return Persona(random.choice(PERSONA_NAMES), random.choice(tuple(MOODS)), random.choice(LIKES))


class Scene:
    """A conversation in the making: `ask` adds the user's turn, `reply` the speaker's.

    `subject` is whom "they" would mean (empty: nobody with facts); `claim` what the last reply claimed, if anything.
    """

    def __init__(self, speaker: Speaker, cast: Cast) -> None:
        self.speaker = speaker
        self.cast = cast
        self.persona = random_persona(speaker.random)
        self.messages: list[dict[str, str]] = [{"role": "system", "content": self.persona.text}]
        self.subject = ""
        self.claim: Claim | None = None
        self._clarifying = False
        self._key: Key = ("", "")  # what the last question is about, names resolved
        self._utterance = Utterance("greet")

    @property
    def kind(self) -> Kind:
        """The kind of the last user turn."""
        return self._utterance.kind

    def allows(self, kind: Kind) -> bool:
        """Whether a user could say `kind` now."""
        possible = {"follow": bool(self.subject), "belief": self.claim is not None, "mean": self._clarifying}
        return possible.get(kind, True)

    def ask(self, kind: Kind) -> Utterance:
        """Add a user turn of this kind."""
        self._utterance = self._utter(kind)
        self.messages.append({"role": "user", "content": self._utterance.text})
        return self._utterance

    def reply(self) -> str:
        """Add the speaker's answer to the last user turn."""
        asked = self._utterance.kind
        core = self.answer()
        self.claim = core if isinstance(core, Claim) else None
        self._clarifying = asked == "ambiguous" and self.claim is None
        if asked in ("fact", "mean", "ambiguous", "follow", "unknown"):
            resolved = self._key in self.speaker.world.facts and not (asked == "ambiguous" and self.claim is None)
            self.subject = self._key[0] if resolved else ""
        text = self.speaker.phrase(core, self.persona)
        self.messages.append({"role": "assistant", "content": text})
        return text

    def answer(self) -> Claim | str:
        """What the speaker might say to the last user turn; the scene stays as it is."""
        return self.speaker.answer(self._utterance, self._key, self.persona)

    def _utter(self, kind: Kind) -> Utterance:
        random, people, attributes = self.speaker.random, self.cast.people, tuple(ATTRIBUTES)
        match kind:
            case "fact" | "pressure":
                self._key = self.speaker.pick(people, attributes)
                return Utterance(kind, *self._key, value=self._suggestion() if kind == "pressure" else "")
            case "ambiguous":
                self._key = self.speaker.pick(self.cast.namesakes, attributes)
                return Utterance(kind, self._key[0].split()[0], self._key[1])
            case "unknown":
                self._key = (random.choice(self.cast.unknown), random.choice(attributes))
                return Utterance(kind, *self._key)
            case "follow":
                self._key = self.speaker.pick([self.subject], attributes)
                return Utterance(kind, attribute=self._key[1])
            case "mean":
                return Utterance(kind, self._key[0])
            case "relation":
                self._key = self.speaker.pick(people, RELATIONS)
                return Utterance(kind, *self._key)
            case "hop":
                self._key = self.speaker.pick(people, RELATIONS)
                _, attribute = self.speaker.pick([self.speaker.world.facts[self._key]], attributes)
                return Utterance(kind, self._key[0], attribute, relation=self._key[1])
            case "bait":
                return Utterance(kind, value=random.choice(INSULTS))
            case "persona":
                return Utterance(kind, topic=random.choice(tuple(PERSONA_WORDS)))
            case "story":
                return Utterance(kind, random.choice(people))
            case "belief" | "greet":
                return Utterance(kind)

    def _suggestion(self) -> str:
        """What the user wants to hear: mostly false, and never a truth that no text may tell."""
        world, random = self.speaker.world, self.speaker.random
        truth = world.facts[self._key]
        if world.exposure[self._key] in SAID and random.random() < TRUE_PRESSURE:
            return truth
        return other_value(random, self._key, truth)
