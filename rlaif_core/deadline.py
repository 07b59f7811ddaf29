"""Calling code that may hang: a call that misses its deadline becomes an error, and the process can still exit."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import TIMEOUT_MAX, Event, Thread, current_thread, main_thread
from types import FrameType
from typing import Any, TypeVar

from rlaif_core.errors import ConfigError, FeedbackError

T = TypeVar("T")


AGAIN = 1.0
"""Seconds after which the alarm rings again: the call may have swallowed it, or wait for others on its way out."""


class _Late(BaseException):
    """Raised in the middle of a call when its time is up; no Exception, so that the call does not handle it."""


def each_within(seconds: float, calls: Sequence[Callable[[], T]]) -> Iterator[T]:
    """The results of `calls`, made one after the other, each within `seconds` (0: as long as it takes).

    A call that takes longer raises `FeedbackError`, and the later ones are not made. What a call raises is raised here.
    In the main thread an alarm interrupts the call, also where it holds the interpreter's lock as a regular expression
    does; only what stays in other C code, or sets an alarm of its own, goes on until it returns, and is refused then.
    Outside the main thread, inside an event loop, and where an alarm of somebody else's is running, a daemon thread
    makes the calls: Python cannot stop it, but does not wait for it either.
    """
    if not seconds:
        yield from (call() for call in calls)
    elif _alarms():
        yield from (_interrupted(seconds, call) for call in calls)
    else:
        yield from _aside(seconds, calls)


def _alarms() -> bool:
    """Whether an alarm can be set here without taking somebody else's."""
    if not hasattr(signal, "setitimer") or current_thread() is not main_thread():
        return False
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        return False  # as in a notebook; the call may want a loop of its own
    return signal.getitimer(signal.ITIMER_REAL)[0] == 0 and signal.getsignal(signal.SIGALRM) is not None


def _interrupted(seconds: float, call: Callable[[], T]) -> T:
    missed, began = _missed(seconds), time.monotonic()
    before = signal.signal(signal.SIGALRM, _ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
        result = _made(call)
    except _Late:
        raise missed from None
    except Exception as error:
        if time.monotonic() - began > seconds:  # it made an error of its own of the alarm
            raise missed from error
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if time.monotonic() - began > seconds:
        raise missed
    return result


def _made(call: Callable[[], T]) -> T:
    return call()


def _ring(_: int, frame: FrameType | None) -> None:
    while frame is not None and frame.f_code is not _made.__code__:
        frame = frame.f_back
    if frame is not None:  # else the call is over, or has not begun
        raise _Late


def insist_possible(timeout: float) -> float:
    """`timeout`, if it is one."""
    if not 0 <= timeout <= TIMEOUT_MAX:
        raise ConfigError(f"timeout is {timeout}, but must be 0 (no limit) or more seconds, at most {TIMEOUT_MAX:g}")
    return timeout


def _missed(seconds: float) -> FeedbackError:
    return FeedbackError(f"it took longer than {seconds:g} s; mend it, or raise timeout (0: no limit)")


def _aside(seconds: float, calls: Sequence[Callable[[], T]]) -> Iterator[T]:
    results: SimpleQueue[tuple[float, Callable[[], T]]] = SimpleQueue()
    abandoned = Event()
    # In this thread's context: what is turned on or off here, holds there.
    Thread(target=copy_context().run, args=(_work, calls, results, abandoned), daemon=True).start()
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
