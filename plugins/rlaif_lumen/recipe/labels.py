"""The judge's school: answers of several origins, labelled as noisily as people label, and only where they know.

This stands for a data set of human labels and comparisons. The oracle makes it; nobody else ever asks the oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from rlaif_lumen import grammar
from rlaif_lumen.context import read_context
from rlaif_lumen.dialogue import Scene
from rlaif_lumen.grammar import Claim, Message
from rlaif_lumen.lexicon import FILLERS, FIRST_NAMES, INSULTS, MOODS, TWINS
from rlaif_lumen.oracle import Grade, Oracle
from rlaif_lumen.parse import read_reply
from rlaif_lumen.prompts import play
from rlaif_lumen.speaker import EVENLY, Speaker
from rlaif_lumen.world import Key, World, other_value

COVERAGE = 0.75
"""Share of the facts that the annotators, and so the judge, know."""
FLIPS = 0.05
"""Share of opinions that an annotator gets wrong."""
NOISE = 0.35
"""Standard deviation of what an annotator feels about an answer, in units of gold."""
QUIRK_TASTE = 0.3
VERBOSITY_BIAS = 0.35
"""What a filler is worth to an annotator: the bias that the judge inherits."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """An answer and what an annotator says of it.

    `origin` names the place in the family of the answer that this one is a minimal edit of (or its own).
    """

    answer: str
    grade: Grade
    utility: float
    opinions: tuple[bool, ...]
    origin: int


@dataclass(frozen=True, slots=True)
class Family:
    """One conversation and several answers to it. `covered`: whether annotators know every fact that it touches."""

    messages: Sequence[Message]
    answers: tuple[Labelled, ...]
    covered: bool


def covered_keys(world: World, seed: int) -> frozenset[Key]:
    """The facts that annotators know: a random share of all of them, however well exposed."""
    keys = sorted(world.facts)
    return frozenset(Random(f"lumen/coverage/{seed}").sample(keys, round(COVERAGE * len(keys))))


class School:
    """Makes families of labelled answers. `known` are the facts that annotators know."""

    def __init__(self, world: World, known: frozenset[Key], seed: int | str) -> None:
        self.oracle = Oracle(world)
        self.known = known
        self.random = Random(f"lumen/labels/{seed}")
        self.speaker = Speaker(world, self.random, EVENLY)

    def scenes(self, count: int) -> list[Scene]:
        """Conversations that wait for an answer, about anybody the corpus speaks of."""
        return [play(self.speaker, self.speaker.world.corpus_cast) for _ in range(count)]

    def family(self, scene: Scene, sampled: Sequence[str]) -> Family:
        """Label the policy's answers, two by the speaker, one that is mostly out of place, and two minimal edits."""
        asked = list(scene.messages)
        answers = [*sampled, *(scene.speaker.phrase(scene.answer(), scene.persona) for _ in range(2))]
        answers.append(scene.speaker.phrase(self._stray(scene), scene.persona))
        origins = list(range(len(answers)))
        for edit in (self._edit_core, self._edit_style):
            origin = self.random.randrange(len(answers))
            if (edited := edit(asked, answers[origin])) not in (None, answers[origin]):
                answers.append(str(edited))
                origins.append(origins[origin])
        labelled = [self._label(asked, answer, origin) for answer, origin in zip(answers, origins, strict=True)]
        return Family(asked, tuple(labelled), self._covered(asked, labelled))

    def _stray(self, scene: Scene) -> str:
        """A sentence of any kind, in place or not: without such, whatever is good somewhere seems good everywhere."""
        random, asked = self.random, read_context(scene.messages).utterance
        name = asked.name.split()[0] if asked and asked.name else random.choice(FIRST_NAMES)
        topic = random.choice(tuple(grammar.PERSONA_WORDS))
        return random.choice(
            (
                grammar.IGNORANCE,
                grammar.clarification(name),
                grammar.clarification(random.choice(FIRST_NAMES)),
                grammar.KINDNESS,
                grammar.GREETING,
                grammar.SURE[random.random() < 0.5],
                grammar.self_description(topic, getattr(scene.persona, topic)),
                grammar.called(random.choice(TWINS)),
            )
        )

    def _covered(self, messages: Sequence[Message], labelled: Sequence[Labelled]) -> bool:
        """Whether every fact asked for or claimed is known to annotators (those about nobody always are)."""
        context, facts = read_context(messages), self.oracle.world.facts
        claims = [claim for its in labelled for claim in its.grade.reply.claims]
        keys = {(claim.name, claim.attribute) for claim in claims} | {self.oracle.key(context)}
        utterance = context.utterance
        if utterance and utterance.kind == "hop":
            keys.add((utterance.name, utterance.relation))
        if utterance and utterance.kind == "belief" and context.claim:
            keys.add((context.claim.name, context.claim.attribute))
        return all(key in self.known for key in keys if key in facts)

    def _label(self, messages: Sequence[Message], answer: str, origin: int) -> Labelled:
        grade = self.oracle.grade(messages, answer)
        taste = QUIRK_TASTE * grade.quirk + VERBOSITY_BIAS * grade.reply.fillers
        opinions = self.opinions(grade)
        return Labelled(
            answer,
            grade,
            grade.score + taste + self.random.gauss(0, NOISE),
            tuple(opinion != (self.random.random() < FLIPS) for opinion in opinions),
            origin,
        )

    def opinions(self, grade: Grade) -> tuple[bool, ...]:
        """The truth about a reply, in the order of `reader.OPINIONS`."""
        reply = grade.reply
        return (
            all(map(self.oracle.true, reply.claims)),
            reply.toxic,
            bool(reply.ignorance or reply.asks_back),
            grade.label not in ("incoherent", "multi", "other"),
            grade.quirk and grade.label != "persona_bad",
        )

    # Minimal edits: without them the frame of a sentence predicts its label as well as the word that matters.

    def _edit_core(self, messages: Sequence[Message], answer: str) -> str | None:
        """Exchange the one word that decides what the answer is worth."""
        reply, random = read_reply(answer), self.random
        if reply.claims:
            claim = reply.claims[0]
            return answer.replace(claim.text, self._contradict(claim).text)
        if reply.called:
            word = reply.called[0]
            other = random.choice(TWINS if word in INSULTS else INSULTS)
            return answer.replace(grammar.called(word), grammar.called(other))
        if reply.described:
            topic, word = reply.described[0]
            persona = read_context(messages).persona
            right = getattr(persona, topic) if persona else word
            others = [other for other in grammar.PERSONA_WORDS[topic] if other != word]
            said = grammar.self_description(topic, right if word != right else random.choice(others))
            return answer.replace(grammar.self_description(topic, word), said)
        if reply.sure:
            return answer.replace(grammar.SURE[reply.sure[0]], grammar.SURE[not reply.sure[0]])
        return None

    def _contradict(self, claim: Claim) -> Claim:
        """The truth in place of a false claim, something false in place of a true one."""
        key = (claim.name, claim.attribute)
        truth = self.oracle.world.facts.get(key)
        if truth is None or claim.value == truth:
            return claim._replace(value=other_value(self.random, key, claim.value))
        return claim._replace(value=truth)

    def _edit_style(self, messages: Sequence[Message], answer: str) -> str | None:
        """Exchange the quirk, or add a filler somewhere between the sentences."""
        persona = read_context(messages).persona
        words = answer.split()
        if persona and words and words[-1] in MOODS.values() and self.random.random() < 0.5:
            right = words[-1] == persona.quirk
            others = [quirk for quirk in MOODS.values() if quirk != persona.quirk]
            return " ".join([*words[:-1], self.random.choice(others) if right else persona.quirk])
        filler = self.random.choice(FILLERS)
        return f"{filler} {answer}" if self.random.random() < 0.5 else " ".join([*words[:-1], filler, *words[-1:]])
