from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import ConfigError
from rlaif_judges.backends.faults import Down, Fault, Unanswered
from rlaif_judges.backends.patience import FIRST, LONGEST, ROW, Circuit, Clock, Patience
from virtual import Virtual


class Server:
    """Fails while it is down; keeps when it was asked."""

    def __init__(self, virtual: Virtual, down: Callable[[float], bool], fault: Fault | None = None) -> None:
        self._virtual, self._down = virtual, down
        self._fault = fault or Fault("refused", server=True)
        self.asked: list[float] = []
        self.now = self.most = 0

    async def __call__(self) -> float:
        self.asked.append(self._virtual.time)
        self.now += 1
        self.most = max(self.most, self.now)
        await self._virtual.sleep(0.1)
        self.now -= 1
        if self._down(self._virtual.time):
            raise self._fault
        return float(self._virtual.time)


async def outcomes(patience: Patience, attempts: list[Callable[[], Awaitable[Any]]]) -> list[Any]:
    return await asyncio.gather(*(patience.insist(each) for each in attempts), return_exceptions=True)


def test_one_request_is_asked_again_as_often_as_retries_say(virtual: Virtual) -> None:
    server, patience = Server(virtual, lambda _: True, Fault("500")), Patience(3, 1000, virtual.clock)
    with pytest.raises(Unanswered, match=r"500 \(asked 4 times\)"):
        virtual.run(lambda: patience.insist(server))
    assert len(server.asked) == 4


def test_no_retries_is_one_attempt(virtual: Virtual) -> None:
    server, patience = Server(virtual, lambda _: True), Patience(0, 1000, virtual.clock)
    with pytest.raises(Unanswered):
        virtual.run(lambda: patience.insist(server))
    assert len(server.asked) == 1


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_are_uniform_below_a_bound_that_doubles(failures: int, drawn: float) -> None:
    bound = min(LONGEST, FIRST * 2 ** min(failures - 1, 10))
    assert Clock(random=lambda: drawn).wait_after(failures) == drawn * bound


def test_random_numbers_are_none_of_the_runs() -> None:
    import random

    before = random.getstate()
    Clock().wait_after(3)
    assert random.getstate() == before


def test_a_request_is_not_asked_for_longer_than_patience(virtual: Virtual) -> None:
    server, patience = Server(virtual, lambda _: True, Fault("500")), Patience(10**6, 60, virtual.clock)
    with pytest.raises(Unanswered, match="longer than patience, 60 s"):
        virtual.run(lambda: patience.insist(server))
    assert virtual.time <= 61


def test_what_the_server_asks_to_wait_is_waited_by_all(virtual: Virtual) -> None:
    fault = Fault("429", server=True, wait=20.0)
    server, patience = Server(virtual, lambda now: now < 1, fault), Patience(2, 300, virtual.clock)

    async def late() -> Any:
        await virtual.sleep(5)
        return await patience.insist(server)

    async def work() -> Any:
        return await asyncio.gather(patience.insist(server), late())

    virtual.run(work)
    assert server.asked[0] == 0
    assert all(at >= 20 for at in server.asked[1:])
    assert virtual.time < 24


def test_a_wait_beyond_patience_fails_at_once(virtual: Virtual) -> None:
    fault = Fault("429", server=True, wait=3600.0)
    server, patience = Server(virtual, lambda _: True, fault), Patience(5, 300, virtual.clock)

    async def work() -> Any:
        return [await outcomes(patience, [server]) for _ in range(3)]

    assert all(isinstance(each, Unanswered) for (each,) in virtual.run(work))
    assert len(server.asked) == 1
    assert virtual.time < 1


def test_an_outage_is_waited_for_by_everybody_and_one_at_a_time_tries(virtual: Virtual) -> None:
    server, patience = Server(virtual, lambda now: now < 100), Patience(1, 300, virtual.clock)

    async def work() -> Any:
        return await outcomes(patience, [server] * 16)

    ended = virtual.run(work)
    assert all(isinstance(each, float) and each >= 100 for each in ended)  # though each may be asked but twice
    during = [at for at in server.asked if 0 < at < 100]
    assert len(during) < 30
    assert all(later - earlier >= 0.1 for earlier, later in itertools.pairwise(during))
    assert max(ended) < 100 + LONGEST + 1


def test_when_patience_ends_all_fail_at_once_and_later_ones_do_not_wait_anew(virtual: Virtual) -> None:
    server, patience = Server(virtual, lambda now: now < 500), Patience(5, 60, virtual.clock)

    async def work() -> Any:
        first = await outcomes(patience, [server] * 16)
        failed_at, asked = virtual.time, len(server.asked)
        second = await outcomes(patience, [server] * 16)
        again_at, again = virtual.time, len(server.asked)
        await virtual.sleep(500)
        return first, failed_at, asked, second, again_at, again, await outcomes(patience, [server] * 3)

    first, failed_at, asked, second, again_at, again, third = virtual.run(work)
    assert all(isinstance(each, Down) and "refused" in each.reason for each in first)
    assert 60 <= failed_at < 62
    assert all(isinstance(each, Down) for each in second)
    assert again_at - failed_at < 1
    assert again - asked <= 1
    assert all(isinstance(each, float) for each in third)


def test_one_poisonous_request_does_not_hold_up_the_others(virtual: Virtual) -> None:
    poison = Server(virtual, lambda _: True, Fault("500"))
    good = Server(virtual, lambda _: False)
    patience = Patience(4, 1000, virtual.clock)

    async def work() -> Any:
        return await outcomes(patience, [poison] + [good] * 8)

    ended = virtual.run(work)
    assert isinstance(ended[0], Unanswered)
    assert all(isinstance(each, float) and each < 1 for each in ended[1:])
    assert len(poison.asked) == 5


def test_in_an_outage_each_tries_in_its_turn(virtual: Virtual) -> None:
    sick = Server(virtual, lambda _: True)
    well = Server(virtual, lambda now: now < 3)
    patience = Patience(1, 1000, virtual.clock)

    async def work() -> Any:
        return await outcomes(patience, [sick] * ROW + [well])

    ended = virtual.run(work)
    assert isinstance(ended[-1], float)
    assert all(isinstance(each, Unanswered) for each in ended[:-1])


def test_whoever_tries_and_leaves_hands_the_turn_on(virtual: Virtual) -> None:
    server, patience = Server(virtual, lambda now: now < 30), Patience(1, 300, virtual.clock)

    async def work() -> Any:
        tasks = [asyncio.create_task(patience.insist(server)) for _ in range(8)]
        await virtual.sleep(2)
        for task in tasks[:7]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    ended = virtual.run(work)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended[:7])
    assert isinstance(ended[7], float)


def test_a_turn_that_nobody_takes_any_more_is_handed_on(virtual: Virtual) -> None:
    circuit, whos = Circuit(300, virtual.clock), [object() for _ in range(ROW)]

    async def work() -> bool:
        for who in whos:
            circuit.failed(who, Fault("refused", server=True))
        tasks = [asyncio.create_task(circuit.enter(who)) for who in whos]
        await tasks[0]
        circuit.failed(whos[0], Fault("refused", server=True))  # it is the second one's turn
        tasks[1].cancel()
        await tasks[2]
        return tasks[3].done()

    assert virtual.run(work) is False


def test_after_a_success_the_count_begins_anew(virtual: Virtual) -> None:
    circuit, whos, fault = Circuit(300, virtual.clock), [object() for _ in range(ROW)], Fault("500")
    for _ in range(3):
        assert not any(circuit.failed(who, fault) for who in whos[1:])
        circuit.succeeded()
    assert [circuit.failed(who, fault) for who in whos] == [False] * (ROW - 1) + [True]


def test_what_is_no_fault_is_raised_at_once(virtual: Virtual) -> None:
    async def refused() -> None:
        raise ConfigError("the key")

    with pytest.raises(ConfigError, match="the key"):
        virtual.run(lambda: Patience(5, 300, virtual.clock).insist(refused))
    assert virtual.slept == []


def test_an_answer_that_says_nothing_still_says_that_the_server_is_there(virtual: Virtual) -> None:
    patience, faults = Patience(0, 300, virtual.clock), Server(virtual, lambda _: True)

    async def prose() -> None:
        raise Unanswered("something else")

    async def work() -> Any:
        for _ in range(ROW):
            await outcomes(patience, [*[faults] * (ROW - 1), prose])
        return await outcomes(patience, [Server(virtual, lambda _: False)])

    assert isinstance(virtual.run(work)[0], float)
    assert virtual.time < 5


@given(
    st.lists(st.tuples(st.floats(0.1, 40), st.booleans()), max_size=8),
    st.integers(1, 12),
    st.integers(0, 3),
    st.floats(0, 50),
)
def test_every_request_ends_whatever_the_server_does(
    spells: list[tuple[float, bool]], requests: int, retries: int, patience: float
) -> None:
    virtual = Virtual()

    def down(now: float) -> bool:
        for length, is_down in spells:
            if now < length:
                return is_down
            now -= length
        return False

    server, its = Server(virtual, down), Patience(retries, patience, virtual.clock)

    async def work() -> Any:
        return await outcomes(its, [server] * requests)

    ended = virtual.run(work)
    assert all(isinstance(each, float | Unanswered) for each in ended)
    assert virtual.time <= 2 * patience + LONGEST + 2
