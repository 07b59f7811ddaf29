"""Calling code that may hang: a call that misses its deadline becomes an error, and the process can still exit."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread, current_thread, main_thread
from typing import Any, NoReturn, TypeVar

from rlaif_core.errors import FeedbackError

T = TypeVar("T")


class _Late(BaseException):
    """Raised in the middle of a call when its time is up; no Exception, so that the call does not handle it."""


def each_within(seconds: float, calls: Sequence[Callable[[], T]]) -> Iterator[T]:
    """The results of `calls`, made one after the other, each within `seconds` (0: as long as it takes).

    A call that takes longer raises `FeedbackError`, and the later ones are not made. What a call raises is raised here.
    In the main thread an alarm interrupts the call, also where it holds the interpreter's lock as a regular expression
    does. Elsewhere, and where an alarm of somebody else's is running, a daemon thread makes the calls: Python cannot
    stop it, but does not wait for it either. A result that comes too late in spite of all is refused.
    """
    if not seconds:
        yield from (call() for call in calls)
    elif _alarms():
        yield from (_interrupted(seconds, call) for call in calls)
    else:
        yield from _aside(seconds, calls)


def _alarms() -> bool:
    free = hasattr(signal, "setitimer") and current_thread() is main_thread()
    return free and signal.getitimer(signal.ITIMER_REAL)[0] == 0


def _interrupted(seconds: float, call: Callable[[], T]) -> T:
    before = signal.signal(signal.SIGALRM, _late)
    try:
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))  # of 0 it would never ring
        try:
            result = call()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _Late:
        raise _missed(seconds) from None
    finally:
        signal.signal(signal.SIGALRM, before)
    if time.monotonic() - began > seconds:  # it swallowed the alarm, or set one of its own
        raise _missed(seconds)
    return result


def _late(*_: object) -> NoReturn:
    raise _Late


def _missed(seconds: float) -> FeedbackError:
    return FeedbackError(f"it took longer than {seconds:g} s; mend it, or raise timeout (0: no limit)")


def _aside(seconds: float, calls: Sequence[Callable[[], T]]) -> Iterator[T]:
    results: SimpleQueue[tuple[float, Callable[[], T]]] = SimpleQueue()
    abandoned = Event()
    Thread(target=_work, args=(calls, results, abandoned), daemon=True).start()
    try:
        for _ in calls:
            try:
                took, result = results.get(timeout=seconds)
            except Empty:
                raise _missed(seconds) from None
            if took > seconds:  # nobody else could run meanwhile, so the queue's own clock did not see it
                raise _missed(seconds)
            yield result()
    finally:
        abandoned.set()


def _work(calls: Sequence[Callable[[], T]], results: SimpleQueue[Any], abandoned: Event) -> None:
    for call in calls:
        if abandoned.is_set():
            return
        began = time.monotonic()
        try:
            value = call()
        except BaseException as error:  # noqa: BLE001 - not swallowed: it is raised again where the result is fetched
            results.put((0.0, _raising(error)))
            return
        results.put((time.monotonic() - began, lambda value=value: value))


def _raising(error: BaseException) -> Callable[[], Any]:
    def again() -> Any:
        raise error

    return again
