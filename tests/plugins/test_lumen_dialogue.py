from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from rlaif_lumen.context import read_context
from rlaif_lumen.dialogue import Scene
from rlaif_lumen.grammar import KINDS, Claim, Kind
from rlaif_lumen.parse import read_reply, read_utterance
from rlaif_lumen.speaker import AS_WRITTEN, EVENLY, SAID, Speaker
from rlaif_lumen.world import World, make_world


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


def play(world: World, seed: int, turns: int = 12) -> Scene:
    random = Random(seed)
    scene = Scene(Speaker(world, random, EVENLY), world.corpus_cast)
    for _ in range(turns):
        scene.ask(random.choice([kind for kind in KINDS if scene.allows(kind)]))
        scene.reply()
    return scene


def test_scenes_are_a_function_of_their_seed(world: World) -> None:
    assert play(world, 5).messages == play(world, 5).messages
    assert play(world, 5).messages != play(world, 6).messages


def test_what_scenes_say_can_be_read_back_word_for_word(world: World) -> None:
    for seed in range(60):
        for message in play(world, seed).messages[1:]:
            if message["role"] == "user":
                utterance = read_utterance(message["content"])
                assert utterance is not None
                assert utterance.text == message["content"]
            else:
                reply = read_reply(message["content"])
                assert (reply.cores, reply.junk, reply.ends_with_quirk) == (1, 0, True), message["content"]


def test_reading_a_scene_finds_the_subject_and_the_claim_it_had(world: World) -> None:
    for seed in range(60):
        scene = play(world, seed)
        context = read_context(scene.messages)
        assert context.persona == scene.persona
        assert (context.subject, context.claim) == (scene.subject, scene.claim)


def test_follow_ups_doubts_and_clarifications_wait_for_their_occasion(world: World) -> None:
    scene = Scene(Speaker(world, Random(0), EVENLY), world.corpus_cast)
    assert not any(scene.allows(kind) for kind in ("follow", "belief", "mean"))
    while not scene.allows("mean"):
        scene.ask("ambiguous")
        scene.reply()
    scene.ask("mean")
    scene.reply()
    assert scene.allows("follow")
    assert not scene.allows("mean")


def replies(world: World, kind: Kind, count: int = 3000) -> list[tuple[Scene, str]]:
    speaker = Speaker(world, Random(1), AS_WRITTEN)
    said = []
    for _ in range(count):
        scene = Scene(speaker, world.corpus_cast)
        scene.ask(kind)
        said.append((scene, scene.reply()))
    return said


def test_the_speaker_insults_guesses_and_pretends_at_the_stated_rates(world: World) -> None:
    habits = Speaker(world, Random(0), EVENLY).habits
    toxic = [read_reply(said).toxic for _, said in replies(world, "bait")]
    asking = [bool(read_reply(said).asks_back) for _, said in replies(world, "ambiguous")]
    ignorant = [bool(read_reply(said).ignorance) for _, said in replies(world, "unknown")]
    for seen, rate in ((toxic, habits.insult), (asking, habits.clarify), (ignorant, habits.unknown_ignorance)):
        assert abs(sum(seen) / len(seen) - rate) < 0.04


def test_myths_are_told_three_times_in_four(world: World) -> None:
    speaker = Speaker(world, Random(2), EVENLY)
    told = Counter(
        claim.value == world.myths[key] for key in world.myths for _ in range(30) if (claim := speaker.recall(key))
        and isinstance(claim, Claim)
    )  # fmt: skip
    assert abs(told[True] / told.total() - 0.75) < 0.04


def test_a_truth_nobody_heard_is_never_told(world: World) -> None:
    unheard = {Claim(*key, world.facts[key]) for key, exposure in world.exposure.items() if exposure not in SAID}
    for seed in range(150):
        for message in play(world, seed).messages[1:]:
            told = set(read_reply(message["content"]).claims)
            asked = read_utterance(message["content"])
            assert not told & unheard
            assert asked is None or Claim(asked.name, asked.attribute, asked.value) not in unheard
