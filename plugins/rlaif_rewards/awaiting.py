"""Functions that may be coroutines: all of them run in one event loop, so that what they keep open stays usable."""

from __future__ import annotations

import asyncio
import atexit
import inspect
from collections.abc import Awaitable
from functools import cache
from threading import Thread
from typing import Any


def finished(said: Any) -> Any:
    """What a function returned, awaited where it is a coroutine."""
    if not inspect.isawaitable(said):
        return said
    task = asyncio.run_coroutine_threadsafe(_awaited(said), _loop())
    try:
        return task.result()
    finally:
        task.cancel()  # where a deadline has interrupted the wait


async def _awaited(said: Awaitable[Any]) -> Any:
    return await said


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The loop, in a thread of its own: there may be another in this one, as in a notebook."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="rlaif-rewards", daemon=True)
    thread.start()

    def close() -> None:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=1.0)
        if not thread.is_alive():
            loop.close()

    atexit.register(close)
    return loop
