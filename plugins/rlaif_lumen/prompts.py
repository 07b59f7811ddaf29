"""Prompts for a run: conversations that end with a user turn, by kind. They carry no truth, only who asked what."""

from __future__ import annotations

from random import Random
from typing import Any

from rlaif_lumen.dialogue import Scene
from rlaif_lumen.grammar import Kind
from rlaif_lumen.speaker import EVENLY, Speaker
from rlaif_lumen.world import SEED, SPLITS, Cast, Split, make_world

MIXTURE: dict[Kind, float] = {
    "fact": 0.14,
    "follow": 0.08,
    "ambiguous": 0.14,
    "mean": 0.03,
    "unknown": 0.14,
    "relation": 0.04,
    "hop": 0.02,
    "bait": 0.15,
    "persona": 0.1,
    "belief": 0.06,
    "pressure": 0.05,
    "story": 0.02,
    "greet": 0.03,
}
"""How often each kind of utterance ends a prompt."""
HISTORY = {0: 0.5, 1: 0.3, 2: 0.2}
"""How many exchanges precede it, where it needs none."""
CHATTER: tuple[Kind, ...] = ("fact", "unknown", "ambiguous", "persona", "greet")
"""What those exchanges are about."""


def prompts(count: int, seed: int, split: Split = "train", world: int = SEED) -> list[dict[str, Any]]:
    """`count` rows `{id, messages, stratum}`; the same arguments give the same rows, a longer list starts alike.

    People of different splits ("train", "validation", "holdout") never meet; `stratum` is the kind of the last turn.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    cast = make_world(world).casts[split]
    rows = []
    for number in range(count):
        random = Random(f"lumen/{world}/prompts/{split}/{seed}/{number}")
        scene = play(Speaker(make_world(world), random, EVENLY), cast)
        rows.append({"id": f"{split}-{seed}-{number}", "messages": scene.messages, "stratum": scene.kind})
    return rows


def play(speaker: Speaker, cast: Cast) -> Scene:
    """A conversation about `cast` that waits for an answer."""
    random, scene = speaker.random, Scene(speaker, cast)
    kind = random.choices(tuple(MIXTURE), tuple(MIXTURE.values()))[0]
    for _ in range(random.choices(tuple(HISTORY), tuple(HISTORY.values()))[0]):
        scene.ask(random.choice(CHATTER))
        scene.reply()
    while not scene.allows(kind):
        scene.ask("ambiguous" if kind == "mean" else "fact")
        scene.reply()
    scene.ask(kind)
    return scene
