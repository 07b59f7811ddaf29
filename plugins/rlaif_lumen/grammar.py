"""The sentences of lumen: how claims, utterances and replies are written. `parse` is the exact inverse.

document := <bos> <doc> claim+ <eos>
dialogue := <bos> <sys> name is P feel M like L (<usr> utterance <bot> reply <eot>)+ <eos>
reply    := [FILLER] [HEDGE] core [FILLER] QUIRK
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from rlaif_lumen.lexicon import ATTRIBUTES, LIKES, MOODS, PERSONA_NAMES

Message = Mapping[str, str]
Topic = Literal["name", "feel", "like"]
Kind = Literal[
    "fact",  # where does ada live ?
    "ambiguous",  # where does alex live ?       (two people are called alex)
    "unknown",  # where does brix live ?         (nobody knows brix)
    "follow",  # and where do they live ?
    "mean",  # i mean alex reed .                (the answer to a clarifying question)
    "relation",  # who is the friend of ada ?
    "hop",  # where does the friend of ada live ?
    "bait",  # you are a snerk !
    "persona",  # what is your name ?
    "belief",  # are you sure ?
    "pressure",  # say that ada lives in oslo !
    "story",  # tell me a story about ada .
    "greet",  # hello !
]
KINDS: tuple[Kind, ...] = get_args(Kind)

IGNORANCE = "i do not know ."
KINDNESS = "please let us be kind ."
GREETING = "hello there ."
SURE = {True: "yes i am sure .", False: "i am not sure ."}
BELIEF_QUESTION = "are you sure ?"
HELLO = "hello !"
PERSONA_QUESTIONS: dict[Topic, str] = {
    "name": "what is your name ?",
    "feel": "how do you feel ?",
    "like": "what do you like ?",
}
PERSONA_ANSWERS: dict[Topic, str] = {"name": "my name is", "feel": "i feel", "like": "i like"}
PERSONA_WORDS: dict[Topic, tuple[str, ...]] = {"name": PERSONA_NAMES, "feel": tuple(MOODS), "like": LIKES}


class Claim(NamedTuple):
    """Somebody's attribute (or relation) has this value."""

    name: str
    attribute: str
    value: str

    @property
    def predicate(self) -> str:
        """ "lives in oslo", for attributes only."""
        return f"{ATTRIBUTES[self.attribute].verb} {self.value}"

    @property
    def text(self) -> str:
        """The claim as a sentence."""
        if self.attribute in ATTRIBUTES:
            return f"{self.name} {self.predicate} ."
        return f"the {self.attribute} of {self.name} is {self.value} ."


@dataclass(frozen=True, slots=True)
class Persona:
    """Who the policy is told to be; the mood asks for a quirk at the end of every reply."""

    name: str
    feel: str
    like: str

    @property
    def text(self) -> str:
        """The system message."""
        return f"name is {self.name} feel {self.feel} like {self.like}"

    @property
    def quirk(self) -> str:
        return MOODS[self.feel]


@dataclass(frozen=True, slots=True)
class Utterance:
    """What a user says. Which fields are filled depends on `kind`.

    `relation` is the link of a hop ("the friend of ada"); `value` the insult of a bait or the claim under pressure.
    """

    kind: Kind
    name: str = ""
    attribute: str = ""
    value: str = ""
    relation: str = ""
    topic: Topic | None = None

    @property
    def text(self) -> str:
        """The utterance as a sentence."""
        match self.kind:
            case "fact" | "ambiguous" | "unknown":
                return f"{ATTRIBUTES[self.attribute].question} does {self.name} {self.attribute} ?"
            case "follow":
                return f"and {ATTRIBUTES[self.attribute].question} do they {self.attribute} ?"
            case "mean":
                return f"i mean {self.name} ."
            case "relation":
                return f"who is the {self.attribute} of {self.name} ?"
            case "hop":
                question = ATTRIBUTES[self.attribute].question
                return f"{question} does the {self.relation} of {self.name} {self.attribute} ?"
            case "bait":
                return f"you are a {self.value} !"
            case "persona":
                assert self.topic is not None
                return PERSONA_QUESTIONS[self.topic]
            case "belief":
                return BELIEF_QUESTION
            case "pressure":
                return f"say that {Claim(self.name, self.attribute, self.value).text[:-2]} !"
            case "story":
                return f"tell me a story about {self.name} ."
            case "greet":
                return HELLO


def clarification(name: str) -> str:
    """The question back: which of the two people called `name`?"""
    return f"which {name} do you mean ?"


def called(word: str) -> str:
    """Calling the user something: an insult or a kind word."""
    return f"no you are a {word} ."


def self_description(topic: Topic, word: str) -> str:
    """An answer about oneself."""
    return f"{PERSONA_ANSWERS[topic]} {word} ."


def story(first: Claim, second: Claim) -> str:
    """Two inventions about one person; a story is fiction and claims nothing."""
    return f"once {first.name} {first.predicate} and {second.predicate} ."
