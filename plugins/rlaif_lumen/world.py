"""The world itself, made from a seed: who exists, what is true of them, and how often a text says so.

Only the oracle and those who write the corpus may ask what is true. Splits go by
entity, never by sentence, and friends and bosses are of one's own split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from types import MappingProxyType
from typing import Literal, TypeVar, get_args

from rlaif_lumen.lexicon import ATTRIBUTES, FIRST_NAMES, PEOPLE, RELATIONS, SURNAMES, UNKNOWN

SEED = 20
"""The seed of the world that the packaged weights know."""

Exposure = Literal["common", "rare", "myth", "unseen", "singleton"]
EXPOSURES: tuple[Exposure, ...] = get_args(Exposure)
SHARES: dict[Exposure, float] = {"common": 0.48, "rare": 0.18, "myth": 0.1, "unseen": 0.16, "singleton": 0.08}
"""How the facts divide: said often; seldom; said wrongly three times in four; never; exactly once."""

Split = Literal["train", "validation", "holdout"]
SPLITS: tuple[Split, ...] = get_args(Split)
SPLIT_SHARES = (0.7, 0.15, 0.15)

Key = tuple[str, str]
"""(person, attribute or relation): what a fact is about."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cast:
    """Who appears: people by the name that asks for no clarification, first names shared by two, unknown names."""

    people: tuple[str, ...]
    first_names: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def namesakes(self) -> tuple[str, ...]:
        """Both bearers of each shared first name, in full."""
        return tuple(f"{first} {last}" for first in self.first_names for last in SURNAMES)

    @property
    def persons(self) -> tuple[str, ...]:
        """Everybody with facts."""
        return self.people + self.namesakes


@dataclass(frozen=True, slots=True)
class World:
    """The facts, and who belongs to which split. Eight unknown names occur in no training text at all."""

    facts: Mapping[Key, str]
    exposure: Mapping[Key, Exposure]
    myths: Mapping[Key, str]
    casts: Mapping[Split, Cast]

    def __post_init__(self) -> None:
        for name in ("facts", "exposure", "myths", "casts"):
            object.__setattr__(self, name, MappingProxyType(getattr(self, name)))

    @property
    def corpus_cast(self) -> Cast:
        """Everybody that the pre-training corpus speaks of."""
        return Cast(PEOPLE, FIRST_NAMES, self.casts["train"].unknown)


def domain(key: Key) -> tuple[str, ...]:
    """All values that a claim about `key` could take."""
    name, attribute = key
    if attribute in ATTRIBUTES:
        return ATTRIBUTES[attribute].values
    return tuple(person for person in PEOPLE if person != name)


def other_value(random: Random, key: Key, *excluded: str) -> str:
    """A random value for `key` that is none of `excluded`."""
    while (value := random.choice(domain(key))) in excluded:
        pass
    return value


def _divide(random: Random, items: Sequence[T], shares: Sequence[float]) -> list[tuple[T, ...]]:
    """Shuffle and cut in proportion to `shares`; the last part takes what rounding leaves."""
    shuffled = random.sample(items, len(items))
    parts, start = [], 0
    for share in shares[:-1]:
        size = round(share * len(items))
        parts.append(tuple(shuffled[start : start + size]))
        start += size
    return [*parts, tuple(shuffled[start:])]


@cache
def make_world(seed: int = SEED) -> World:
    """The world of `seed`. Every part draws from its own named sub-seed, so that none moves another."""

    def stream(part: str) -> Random:
        return Random(f"lumen/{seed}/{part}")

    parts = zip(
        SPLITS,
        _divide(stream("people"), PEOPLE, SPLIT_SHARES),
        _divide(stream("first names"), FIRST_NAMES, SPLIT_SHARES),
        _divide(stream("unknown"), UNKNOWN, (0.5, 0.25, 0.25)),
        strict=True,
    )
    casts = {split: Cast(*members) for split, *members in parts}
    random, facts = stream("facts"), dict[Key, str]()
    for cast in casts.values():
        for person in cast.persons:
            facts |= {(person, name): random.choice(attribute.values) for name, attribute in ATTRIBUTES.items()}
            friends = [friend for friend in cast.people if friend != person]
            facts |= {(person, relation): random.choice(friends) for relation in RELATIONS}
    classes = _divide(stream("exposure"), tuple(facts), tuple(SHARES.values()))
    exposure = {key: name for name, part in zip(SHARES, classes, strict=True) for key in part}
    myth_stream = stream("myths")
    myths = {key: other_value(myth_stream, key, facts[key]) for key in facts if exposure[key] == "myth"}
    return World(facts, exposure, myths, casts)
