from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_rewards.clusters import components, entropy, masses, mutual, numbered

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=12)
LINKS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=12)


def reachable(count: int, links: list[tuple[int, int]], start: int) -> set[int]:
    seen, todo = {start}, [start]
    while todo:
        here = todo.pop()
        near = {b for a, b in links if a == here} | {a for a, b in links if b == here}
        todo += near - seen
        seen |= near
    return seen


@given(LINKS)
def test_components_are_what_can_be_reached(links: list[tuple[int, int]]) -> None:
    labels = components(8, links)
    for item in range(8):
        assert {other for other in range(8) if labels[other] == labels[item]} == reachable(8, links, item)


@given(LINKS, st.randoms(use_true_random=False))
def test_the_order_of_links_and_items_does_not_matter(links: list[tuple[int, int]], random) -> None:
    labels = components(8, links)
    order = list(range(8))
    random.shuffle(order)
    place = {item: number for number, item in enumerate(order)}
    shuffled = [(place[b], place[a]) for a, b in links]
    random.shuffle(shuffled)
    moved = components(8, shuffled)
    assert [[labels[a] == labels[b] for b in range(8)] for a in range(8)] == [
        [moved[place[a]] == moved[place[b]] for b in range(8)] for a in range(8)
    ]


def test_numbers_go_by_first_occurrence() -> None:
    assert numbered(["b", "a", "b", "c"]) == [0, 1, 0, 2]
    assert components(3, [(2, 1)]) == [0, 1, 1]
    assert components(0, []) == []


def test_only_what_holds_both_ways_links() -> None:
    holds = {(0, 1), (1, 0), (1, 2)}
    assert mutual(3, lambda a, b: (a, b) in holds) == [(0, 1)]


def test_masses_count_or_weigh() -> None:
    assert masses([0, 1, 1, 2]) == {0: 0.25, 1: 0.5, 2: 0.25}
    assert masses([0, 1], [math.log(3), 0.0]) == pytest.approx({0: 0.75, 1: 0.25})


def test_log_weights_of_long_answers_do_not_vanish() -> None:
    assert masses([0, 1], [-2000.0, -2000.0 - math.log(3)]) == pytest.approx({0: 0.75, 1: 0.25})


@given(LABELS)
def test_entropy_is_between_0_and_log_k(labels: list[int]) -> None:
    varied = entropy(masses(labels).values())
    assert 0 <= varied <= math.log(len(labels)) + 1e-12
    assert (varied == 0) == (len(set(labels)) == 1)


@given(LABELS, st.integers(0, 4), st.integers(0, 4))
def test_merging_meanings_never_raises_entropy(labels: list[int], one: int, other: int) -> None:
    merged = [one if label == other else label for label in labels]
    assert entropy(masses(merged).values()) <= entropy(masses(labels).values()) + 1e-12


@given(st.integers(2, 12))
def test_entropy_of_k_different_is_log_k(count: int) -> None:
    assert entropy(masses(range(count)).values()) == pytest.approx(math.log(count))
