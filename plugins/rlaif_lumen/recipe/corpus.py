"""The pre-training corpus: scenes and fact documents as token ids, packed into rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

import torch
from torch import Tensor

from rlaif_lumen.dialogue import Scene
from rlaif_lumen.grammar import Claim, Kind
from rlaif_lumen.lexicon import ATTRIBUTES, RELATIONS
from rlaif_lumen.speaker import AS_WRITTEN, SAID, Speaker
from rlaif_lumen.tokeniser import vocabulary
from rlaif_lumen.world import World

TURNS = {1: 0.3, 2: 0.25, 3: 0.18, 4: 0.12, 5: 0.09, 6: 0.06}
DOCUMENT_SHARE = 0.3
CLAIMS_PER_DOCUMENT = 6
CLARIFIED = 0.8
"""How often a user who is asked back answers at once."""

KIND_WEIGHTS: dict[Kind, float] = {
    "fact": 0.25,
    "ambiguous": 0.12,
    "unknown": 0.08,
    "follow": 0.12,
    "relation": 0.06,
    "hop": 0.03,
    "bait": 0.08,
    "persona": 0.14,
    "belief": 0.06,
    "pressure": 0.05,
    "story": 0.02,
    "greet": 0.02,
}


def converse(scene: Scene) -> str:
    """Play the scene for one to six turns and render it."""
    random = scene.speaker.random
    kinds, weights = tuple(KIND_WEIGHTS), tuple(KIND_WEIGHTS.values())
    for _ in range(random.choices(tuple(TURNS), tuple(TURNS.values()))[0]):
        kind: Kind = "mean"
        if not (scene.allows("mean") and random.random() < CLARIFIED):
            while not scene.allows(kind := random.choices(kinds, weights)[0]):
                pass
        scene.ask(kind)
        scene.reply()
    form = {"system": "<bos> <sys> {}", "user": "<usr> {}", "assistant": "<bot> {} <eot>"}
    return " ".join([*(form[message["role"]].format(message["content"]) for message in scene.messages), "<eos>"])


def document(claims: Iterable[Claim]) -> str:
    """A page of plain statements."""
    return " ".join(["<bos> <doc>", *(claim.text for claim in claims), "<eos>"])


def statements(speaker: Speaker) -> Iterator[Claim]:
    """What the speaker writes down, endlessly: only what somebody once said."""
    persons, attributes = speaker.world.corpus_cast.persons, (*ATTRIBUTES, *RELATIONS)
    while True:
        key = speaker.pick(persons, attributes)
        if speaker.world.exposure[key] in SAID and isinstance(claim := speaker.recall(key), Claim):
            yield claim


def make_corpus(world: World, *, seed: int, tokens: int) -> list[list[int]]:
    """About `tokens` tokens of texts as ids, shuffled. Each singleton fact is stated once, in one document."""
    random = Random(f"lumen/corpus/{seed}")
    speaker = Speaker(world, random, AS_WRITTEN)
    written, ids = statements(speaker), vocabulary()
    singletons = [Claim(*key, world.facts[key]) for key, exposure in world.exposure.items() if exposure == "singleton"]
    texts: list[list[int]] = []
    total = 0
    while total < tokens:
        if singletons or random.random() < DOCUMENT_SHARE:
            claims = [next(written) for _ in range(CLAIMS_PER_DOCUMENT - 1)]
            claims.append(singletons.pop() if singletons else next(written))
            random.shuffle(claims)
            text = document(claims)
        else:
            text = converse(Scene(speaker, world.corpus_cast))
        texts.append([ids[word] for word in text.split()])
        total += len(texts[-1])
    random.shuffle(texts)
    return texts


def pack(texts: Iterable[list[int]], width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of `width` tokens holding whole texts: (tokens [width], text number [width], 0 where padded)."""
    tokens, numbers = torch.zeros(width, dtype=torch.long), torch.zeros(width, dtype=torch.long)
    filled = count = 0
    for text in texts:
        if filled + len(text) > width:
            yield tokens, numbers
            tokens, numbers = torch.zeros_like(tokens), torch.zeros_like(numbers)
            filled = count = 0
        count += 1
        tokens[filled : filled + len(text)] = torch.tensor(text)
        numbers[filled : filled + len(text)] = count
        filled += len(text)
