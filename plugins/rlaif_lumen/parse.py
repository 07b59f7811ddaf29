"""Reading the sentences of `grammar` back, strictly and from left to right: utterances whole, replies piece by piece.

Whatever does not fit is counted as junk and reading goes on behind it, so nothing can hide after a garbled start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from rlaif_lumen import grammar
from rlaif_lumen.grammar import Claim, Kind, Persona, Topic, Utterance
from rlaif_lumen.lexicon import (
    ATTRIBUTES,
    FILLERS,
    FIRST_NAMES,
    HEDGES,
    INSULTS,
    MOODS,
    PEOPLE,
    RELATIONS,
    SURNAMES,
    TWINS,
    UNKNOWN,
)

FULL_NAMES = frozenset(f"{first} {last}" for first in FIRST_NAMES for last in SURNAMES)
PERSONS = frozenset((*PEOPLE, *UNKNOWN)) | FULL_NAMES
"""Every name that means one person, if anybody."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reply says, each kind of piece in the order said. `junk` counts words of no sentence, `length` all."""

    claims: tuple[Claim, ...] = ()
    stories: tuple[tuple[Claim, Claim], ...] = ()
    asks_back: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    described: tuple[tuple[Topic, str], ...] = ()
    sure: tuple[bool, ...] = ()
    ignorance: int = 0
    kindness: int = 0
    greetings: int = 0
    hedges: tuple[str, ...] = ()
    fillers: int = 0
    quirks: tuple[str, ...] = ()
    ends_with_quirk: bool = False
    junk: int = 0
    length: int = 0

    @property
    def cores(self) -> int:
        """How many sentences were said."""
        lists = (self.claims, self.stories, self.asks_back, self.called, self.described, self.sure)
        return sum(map(len, lists)) + self.ignorance + self.kindness + self.greetings

    @property
    def toxic(self) -> bool:
        """Whether the user is called something unkind; the word alone, as in owning a toad, is no insult."""
        return any(word in INSULTS for word in self.called)


def _read_predicate(words: Sequence[str]) -> tuple[str, str, int] | None:
    """Read "lives in oslo" at the start of `words`: attribute, value, words taken."""
    for attribute in ATTRIBUTES.values():
        verb = attribute.verb.split()
        size = len(verb) + 1
        if list(words[: size - 1]) == verb and len(words) >= size and words[size - 1] in attribute.values:
            return attribute.name, words[size - 1], size
    return None


def _read_claim(words: Sequence[str]) -> tuple[Claim, int] | None:
    """Read a claim at the start of `words`: the claim, words taken."""
    for size in (1, 2):  # words in the name
        claim: Claim | None = None
        if words[0] == "the" and len(words) >= size + 6 and words[1] in RELATIONS and words[size + 4] in PEOPLE:
            claim = Claim(" ".join(words[3 : size + 3]), words[1], words[size + 4])
        elif predicate := _read_predicate(words[size:]):
            claim = Claim(" ".join(words[:size]), *predicate[:2])
        if claim and claim.name in PERSONS:
            sentence = claim.text.split()
            if list(words[: len(sentence)]) == sentence:
                return claim, len(sentence)
    return None


def _read_story(words: Sequence[str]) -> tuple[tuple[Claim, Claim], int] | None:
    """Read a story at the start of `words`: its two inventions, words taken."""
    if words[0] != "once" or len(words) < 2 or not (first := _read_predicate(words[2:])):
        return None
    if not (second := _read_predicate(words[first[2] + 3 :])):
        return None
    told = (Claim(words[1], *first[:2]), Claim(words[1], *second[:2]))
    sentence = grammar.story(*told).split()
    return (told, len(sentence)) if words[1] in PERSONS and list(words[: len(sentence)]) == sentence else None


@cache
def _phrases() -> dict[str, list[tuple[list[str], str, Any]]]:
    """Every piece with nothing to fill in, by its first word: its words, the field of `Reply`, what it says."""
    pieces: list[tuple[str, str, Any]] = [
        (grammar.IGNORANCE, "ignorance", True),
        (grammar.KINDNESS, "kindness", True),
        (grammar.GREETING, "greetings", True),
        *((sentence, "sure", sure) for sure, sentence in grammar.SURE.items()),
        *((grammar.clarification(name), "asks_back", name) for name in (*FIRST_NAMES, *PEOPLE, *UNKNOWN)),
        *((grammar.called(word), "called", word) for word in (*INSULTS, *TWINS)),
        *((hedge, "hedges", hedge) for hedge in HEDGES),
        *((filler, "fillers", filler) for filler in FILLERS),
        *((quirk, "quirks", quirk) for quirk in MOODS.values()),
    ]
    for topic, words in grammar.PERSONA_WORDS.items():
        pieces += [(grammar.self_description(topic, word), "described", (topic, word)) for word in words]
    table: dict[str, list[tuple[list[str], str, Any]]] = {}
    for sentence, name, value in pieces:
        table.setdefault(sentence.split()[0], []).append((sentence.split(), name, value))
    return table


_READERS: tuple[tuple[str, Callable[[Sequence[str]], tuple[Any, int] | None]], ...] = (
    ("claims", _read_claim),
    ("stories", _read_story),
)


def _read_piece(words: Sequence[str]) -> tuple[str, Any, int] | None:
    """Read one piece at the start of `words`: the field of `Reply`, what it says, words taken."""
    for phrase, name, value in _phrases().get(words[0], ()):
        if list(words[: len(phrase)]) == phrase:
            return name, value, len(phrase)
    for name, reader in _READERS:
        if read := reader(words):
            return name, *read
    return None


def read_reply(text: str) -> Reply:
    """What `text` says. Never fails: what cannot be read is junk."""
    words = text.split()
    said: dict[str, list[Any]] = {}
    junk = start = 0
    last = ""
    while start < len(words):
        if piece := _read_piece(words[start:]):
            last, value, used = piece
            said.setdefault(last, []).append(value)
            start += used
        else:
            last = ""
            junk, start = junk + 1, start + 1
    fields: dict[str, Any] = {name: tuple(values) for name, values in said.items()}
    for name in ("ignorance", "kindness", "greetings", "fillers"):
        fields[name] = len(fields.get(name, ()))
    return Reply(**fields, ends_with_quirk=last == "quirks", junk=junk, length=len(words))


def read_utterance(text: str) -> Utterance | None:
    """The user's sentence, or None if it is none of lumen's. Whatever is read renders to `text` again."""
    utterance = _guess_utterance(text.split())
    return utterance if utterance and utterance.text == text else None


def _guess_utterance(words: list[str]) -> Utterance | None:
    match words:
        case ["hello", "!"]:
            return Utterance("greet")
        case ["are", "you", "sure", "?"]:
            return Utterance("belief")
        case ["you", "are", "a", word, "!"]:
            return Utterance("bait", value=word)
        case ["i", "mean", *name, "."]:
            return Utterance("mean", " ".join(name)) if " ".join(name) in FULL_NAMES else None
        case ["tell", "me", "a", "story", "about", name, "."]:
            return Utterance("story", name)
        case ["say", "that", *claim, "!"]:
            read = _read_claim([*claim, "."]) if claim else None
            return Utterance("pressure", *read[0]) if read else None
        case ["and", _, "do", "they", attribute, "?"] if attribute in ATTRIBUTES:
            return Utterance("follow", attribute=attribute)
        case ["who", "is", "the", relation, "of", *name, "?"] if relation in RELATIONS:
            return Utterance("relation", " ".join(name), relation)
        case [_, "does", "the", relation, "of", *name, attribute, "?"] if attribute in ATTRIBUTES:
            return Utterance("hop", " ".join(name), attribute, relation=relation) if relation in RELATIONS else None
        case [_, "does", *name, attribute, "?"] if attribute in ATTRIBUTES:
            kind = _kind_of_name(" ".join(name))
            return Utterance(kind, " ".join(name), attribute) if kind else None
        case _:
            questions = {question: topic for topic, question in grammar.PERSONA_QUESTIONS.items()}
            topic = questions.get(" ".join(words))
            return Utterance("persona", topic=topic) if topic else None


def _kind_of_name(name: str) -> Kind | None:
    if name in FIRST_NAMES:
        return "ambiguous"
    if name in UNKNOWN:
        return "unknown"
    return "fact" if name in PERSONS else None


def read_persona(text: str) -> Persona | None:
    """The system message, or None if it is not one of lumen's."""
    match text.split():
        case ["name", "is", name, "feel", feel, "like", like]:
            words = grammar.PERSONA_WORDS
            known = name in words["name"] and feel in words["feel"] and like in words["like"]
            return Persona(name, feel, like) if known else None
    return None
