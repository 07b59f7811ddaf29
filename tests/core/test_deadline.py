from __future__ import annotations

import asyncio
import gc
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

import rlaif_kernels as rk
from rlaif_core import ConfigError, FeedbackError
from rlaif_core.deadline import each_within, insist_possible
from rlaif_kernels.dispatch import plain


@pytest.fixture(params=["alarm", "thread"], autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both ways of making calls: an alarm where nobody else has set one, and a thread where somebody has."""
    if request.param == "alarm" and not hasattr(signal, "setitimer"):
        pytest.skip("this system has no interval timers")
    now = 0 if request.param == "alarm" else 600
    theirs = signal.setitimer(signal.ITIMER_REAL, now) if hasattr(signal, "setitimer") else (0.0, 0.0)
    yield request.param
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, *theirs)


def calls(*values: int) -> list[Callable[[], int]]:
    return [lambda value=value: value for value in values]


@pytest.mark.parametrize("seconds", [0, 5])
def test_results_come_in_order(seconds: float) -> None:
    assert list(each_within(seconds, calls(3, 1, 2))) == [3, 1, 2]
    assert list(each_within(seconds, calls())) == []


def test_what_is_turned_off_around_a_call_is_off_in_it() -> None:
    with rk.using("torch"):
        assert list(each_within(5, [plain])) == [True]
    assert list(each_within(5, [plain])) == [False]


@pytest.mark.parametrize("seconds", [0, 5])
def test_what_a_call_raises_comes_out_where_its_result_would(seconds: float) -> None:
    results = each_within(seconds, [*calls(1), lambda: 1 // 0, *calls(2)])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_call_that_hangs_misses_its_deadline_and_later_ones_are_not_made() -> None:
    released, made = threading.Event(), []
    results = each_within(0.5, [*calls(1), lambda: released.wait(30), lambda: made.append("later")])
    assert next(results) == 1
    start = time.monotonic()
    with pytest.raises(FeedbackError, match=r"took longer than 0.5 s; mend it, or raise timeout"):
        next(results)
    assert time.monotonic() - start < 5
    released.set()
    time.sleep(0.05)
    assert made == []


def test_the_deadline_is_for_each_call_not_for_all() -> None:
    assert list(each_within(1, [lambda: time.sleep(0.3) or 1] * 4)) == [1] * 4


def backtracking(letters: int) -> Callable[[], object]:
    """A call that holds the interpreter's lock for a time that doubles with every letter."""
    return lambda: re.match(r"(a+)+$", "a" * letters + "b")


def lasting(seconds: float) -> int:
    """How many letters make `backtracking` last at least so long on this machine."""
    for letters in range(14, 60):
        start = time.perf_counter()
        backtracking(letters)()
        if time.perf_counter() - start > seconds:
            return letters
    raise AssertionError("this machine is faster than any")


def test_a_call_that_lets_nobody_else_run_misses_its_deadline_too(way: str) -> None:
    letters = lasting(0.3)
    more = 12 if way == "alarm" else 0  # a thread cannot be interrupted: its result is refused when it comes
    start = time.monotonic()
    with pytest.raises(FeedbackError, match=r"took longer than 0\.1 s"):
        list(each_within(0.1, [backtracking(letters + more)]))
    assert time.monotonic() - start < 60


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no alarms")
def test_an_alarm_leaves_the_handler_that_was_there(way: str) -> None:
    before = signal.getsignal(signal.SIGALRM)
    assert list(each_within(5, calls(1))) == [1]
    with pytest.raises(FeedbackError):
        list(each_within(0.05, [lambda: time.sleep(5)]))
    assert signal.getsignal(signal.SIGALRM) is before
    assert (signal.getitimer(signal.ITIMER_REAL)[0] == 0) is (way == "alarm")


@pytest.mark.parametrize("seconds", [1e-9, 0.05])
def test_a_call_that_swallows_the_alarm_is_refused_when_it_returns(seconds: float) -> None:
    def stubborn() -> int:
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            try:
                time.sleep(0.01)
            except BaseException:  # noqa: BLE001
                continue
        return 1

    with pytest.raises(FeedbackError, match="took longer"):
        list(each_within(seconds, [stubborn]))


def pool() -> None:
    with ThreadPoolExecutor() as executor:  # which waits for its workers on the way out
        list(executor.map(time.sleep, [2.0]))


def gather() -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*[asyncio.sleep(30) for _ in range(3)], return_exceptions=True)

    asyncio.run(all_of_them())


def retry() -> None:
    for _ in range(3):
        try:
            time.sleep(30)
        except BaseException:  # noqa: BLE001
            continue


@pytest.mark.parametrize("call", [pool, gather, retry])
def test_an_alarm_rings_until_the_call_is_left(call: Callable[[], None]) -> None:
    start = time.monotonic()
    with pytest.raises(FeedbackError, match=r"took longer than 0\.2 s"):
        list(each_within(0.2, [call]))
    assert time.monotonic() - start < 20


def test_a_call_may_have_an_event_loop_of_its_own_inside_another() -> None:
    async def asked() -> list[int]:
        return list(each_within(5, [lambda: asyncio.run(asyncio.sleep(0, 7))]))

    assert asyncio.run(asked()) == [7]


def test_what_a_call_makes_of_the_alarm_does_not_hide_the_deadline(way: str) -> None:
    def translates() -> None:
        try:
            time.sleep(2)
        except BaseException as error:
            raise RuntimeError("connection lost") from error

    with pytest.raises(FeedbackError, match=r"took longer than 0\.2 s") as raised:
        list(each_within(0.2, [translates]))
    assert isinstance(raised.value.__cause__, RuntimeError) is (way == "alarm")


def test_nothing_is_kept_of_a_call() -> None:
    class Batch:
        pass

    batch = Batch()
    gone = weakref.ref(batch)
    gc.disable()
    try:
        assert len(list(each_within(5, [partial(lambda given: [given], batch)]))) == 1
        del batch
        deadline = time.monotonic() + 5  # a thread may be a moment longer about it
        while gone() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert gone() is None
    finally:
        gc.enable()


def test_a_call_in_c_is_interrupted_too() -> None:
    with pytest.raises(FeedbackError, match=r"took longer than 0\.2 s"):
        list(each_within(0.2, [partial(time.sleep, 30)]))


def test_the_shortest_deadline_is_one() -> None:
    start = time.monotonic()
    with pytest.raises(FeedbackError, match="took longer than 1e-09 s"):
        list(each_within(1e-9, [lambda: time.sleep(10)]))
    assert time.monotonic() - start < 9


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), float("inf")])
def test_what_is_no_timeout_is_refused(timeout: float) -> None:
    with pytest.raises(ConfigError, match=r"timeout is .*, but must be 0 \(no limit\) or more seconds"):
        insist_possible(timeout)


def test_the_process_can_exit_while_a_call_hangs() -> None:
    program = (
        "from rlaif_core.deadline import each_within\n"
        "def forever():\n    while True: pass\n"
        "try: list(each_within(0.2, [forever]))\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "FeedbackError"
