"""Calling code that may hang: a call that misses its deadline becomes an error, and the process can still exit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, TypeVar

from rlaif_core.errors import FeedbackError

T = TypeVar("T")


def each_within(seconds: float, calls: Sequence[Callable[[], T]]) -> Iterator[T]:
    """The results of `calls`, made one after the other, each within `seconds` (0: as long as it takes).

    A call that takes longer raises `FeedbackError`, and the later ones are not made. What a call raises is raised here.
    The calls run in one daemon thread: Python cannot stop it, but does not wait for it either.
    """
    if not seconds:
        yield from (call() for call in calls)
        return
    results: SimpleQueue[Callable[[], T]] = SimpleQueue()
    abandoned = Event()
    Thread(target=_work, args=(calls, results, abandoned), daemon=True).start()
    try:
        for _ in calls:
            try:
                result = results.get(timeout=seconds)
            except Empty:
                raise FeedbackError(
                    f"it took longer than {seconds:g} s; mend it, or raise timeout (0: no limit)"
                ) from None
            yield result()
    finally:
        abandoned.set()


def _work(calls: Sequence[Callable[[], T]], results: SimpleQueue[Callable[[], T]], abandoned: Event) -> None:
    for call in calls:
        if abandoned.is_set():
            return
        try:
            value = call()
        except BaseException as error:  # noqa: BLE001 - not swallowed: it is raised again where the result is fetched
            results.put(_raising(error))
            return
        results.put(lambda value=value: value)  # type: ignore[misc]


def _raising(error: BaseException) -> Callable[[], Any]:
    def again() -> Any:
        raise error

    return again
