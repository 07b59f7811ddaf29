from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_judges.backends.pace import SAVED, Bucket, Pace
from virtual import Virtual


def started(virtual: Virtual, pace: Pace, requests: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """(when, tokens) of each request of (arrival, tokens), in the order in which they were let through."""
    begun: list[tuple[float, float]] = []

    async def one(arrival: float, tokens: float) -> None:
        await virtual.sleep(arrival)
        await pace.enter(tokens)
        begun.append((virtual.time, tokens))

    async def work() -> None:
        await asyncio.gather(*(one(*each) for each in requests))

    virtual.run(work)
    return begun


def busiest(begun: list[tuple[float, float]]) -> tuple[int, float]:
    """Most requests, and most tokens, of any minute."""
    minutes = [[tokens for at, tokens in begun if first <= at < first + 60 - 1e-6] for first, _ in begun]
    return max(map(len, minutes)), max(map(sum, minutes))


@given(st.lists(st.tuples(st.floats(0, 200), st.just(0.0)), min_size=1, max_size=60), st.integers(1, 40))
def test_no_minute_has_more_requests_than_allowed(requests: list[tuple[float, float]], allowed: int) -> None:
    virtual = Virtual()
    begun = started(virtual, Pace(allowed, 0, virtual.clock), requests)
    assert len(begun) == len(requests)
    assert busiest(begun)[0] <= allowed


@given(st.lists(st.tuples(st.floats(0, 200), st.floats(1, 8)), min_size=1, max_size=60), st.integers(100, 400))
def test_no_minute_has_more_tokens_than_allowed(requests: list[tuple[float, float]], allowed: int) -> None:
    virtual = Virtual()
    assert (
        busiest(started(virtual, Pace(0, allowed, virtual.clock), requests))[1] <= allowed + 1 + 1e-6
    )  # the 1 is one of requests


def test_most_of_what_is_allowed_is_used(virtual: Virtual) -> None:
    begun = started(virtual, Pace(600, 0, virtual.clock), [(0.0, 0.0)] * 1200)
    assert begun[-1][0] <= 120 * SAVED / (SAVED - 1)


def test_what_is_saved_up_goes_at_once_and_who_came_first_goes_first(virtual: Virtual) -> None:
    pace = Pace(24, 0, virtual.clock)
    begun = started(virtual, pace, [(0.01 * place, float(place)) for place in range(4)])
    assert [tokens for _, tokens in begun] == [0, 1, 2, 3]
    assert begun[1][0] < 1
    assert begun[2][0] > 2


def test_no_limit_waits_for_nothing(virtual: Virtual) -> None:
    started(virtual, Pace(0, 0, virtual.clock), [(0.0, 1e9)] * 100)
    assert virtual.time == 0


def test_tokens_that_were_not_needed_are_given_back(virtual: Virtual) -> None:
    """A full bucket is 500 of 6000; each request expects 500 and has 5."""
    pace = Pace(0, 6000, virtual.clock)

    async def work() -> None:
        for _ in range(50):
            await pace.enter(500)
            pace.correct(500, 5)

    virtual.run(work)
    assert virtual.time < 5


def test_tokens_beyond_the_expected_are_made_up_for(virtual: Virtual) -> None:
    pace = Pace(0, 6000, virtual.clock)

    async def work() -> None:
        await pace.enter(1)
        pace.correct(1, 6000)
        await pace.enter(1)

    virtual.run(work)
    assert virtual.time == pytest.approx((6000 + 1 - 500) / ((6001 - 500) / 60))


def test_a_request_larger_than_the_bucket_goes_when_enough_has_flowed_in(virtual: Virtual) -> None:
    begun = started(virtual, Pace(0, 1200, virtual.clock), [(0.0, 1200.0)])
    assert begun[0][0] == pytest.approx((1200 - 100) / ((1201 - 100) / 60))


def test_whoever_leaves_while_waiting_gives_back_what_was_taken(virtual: Virtual) -> None:
    bucket = Bucket(60, virtual.clock)

    async def work() -> float:
        await bucket.take(5)
        left = asyncio.create_task(bucket.take(50))
        await virtual.sleep(1)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        began = virtual.time
        await bucket.take(1)
        return virtual.time - began

    assert virtual.run(work) < 2
