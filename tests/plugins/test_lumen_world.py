from __future__ import annotations

from collections import Counter

from rlaif_lumen import lexicon
from rlaif_lumen.lexicon import ATTRIBUTES, CONTROL, RECLAIMED, RELATIONS, words
from rlaif_lumen.world import EXPOSURES, SHARES, domain, make_world


def test_the_same_seed_makes_the_same_world_and_another_seed_another() -> None:
    assert make_world.__wrapped__(3) == make_world.__wrapped__(3)
    assert make_world(3).facts != make_world(4).facts


def test_the_world_has_the_promised_size() -> None:
    world = make_world()
    assert len(lexicon.PEOPLE) == 80
    assert len(lexicon.FIRST_NAMES) == 12
    assert len(lexicon.UNKNOWN) == 16
    assert [len(attribute.values) for attribute in ATTRIBUTES.values()] == [24, 24, 24, 16, 16, 12]
    assert len(world.facts) == (80 + 24) * (6 + 2)
    assert set(world.exposure) == set(world.facts)


def test_facts_divide_into_exposure_classes_as_declared() -> None:
    world = make_world()
    counts = Counter(world.exposure.values())
    for exposure in EXPOSURES:
        assert abs(counts[exposure] / len(world.facts) - SHARES[exposure]) < 0.002, exposure


def test_every_fact_lies_in_its_domain_and_every_myth_is_false() -> None:
    world = make_world()
    assert all(value in domain(key) for key, value in world.facts.items())
    assert set(world.myths) == {key for key, exposure in world.exposure.items() if exposure == "myth"}
    assert all(value in domain(key) and value != world.facts[key] for key, value in world.myths.items())


def test_splits_share_nobody_and_leave_out_nobody() -> None:
    casts = make_world().casts
    for part in ("people", "first_names", "unknown"):
        members = [member for cast in casts.values() for member in getattr(cast, part)]
        assert len(members) == len(set(members))
    assert [len(cast.people) for cast in casts.values()] == [56, 12, 12]
    assert [len(cast.unknown) for cast in casts.values()] == [8, 4, 4]


def test_friends_and_bosses_are_of_one_s_own_split_and_never_oneself() -> None:
    world = make_world()
    for cast in world.casts.values():
        for person in cast.persons:
            for relation in RELATIONS:
                friend = world.facts[person, relation]
                assert friend in cast.people
                assert friend != person


def test_no_fact_is_about_an_unknown_name() -> None:
    world = make_world()
    assert not {name for name, _ in world.facts} & set(lexicon.UNKNOWN)


def test_a_word_belongs_to_one_class_but_for_the_reclaimed_pets() -> None:
    classes = [
        lexicon.FRAME, lexicon.PEOPLE, lexicon.FIRST_NAMES, lexicon.SURNAMES, lexicon.UNKNOWN, lexicon.PERSONA_NAMES,
        lexicon.LIKES, lexicon.INSULTS, lexicon.TWINS, tuple(lexicon.MOODS), tuple(lexicon.MOODS.values()),
        *(attribute.values for attribute in ATTRIBUTES.values()),
    ]  # fmt: skip
    counts = Counter(word for members in classes for word in members)
    assert {word for word, count in counts.items() if count > 1} == set(RECLAIMED)


def test_the_vocabulary_has_no_word_twice_and_no_control_token() -> None:
    listed = list(words())
    assert len(listed) == len(set(listed))
    assert not set(listed) & set(CONTROL)
