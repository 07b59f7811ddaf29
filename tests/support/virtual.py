"""Time that passes only as it is slept: what waits for minutes is tested in an instant, and the same every time."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine
from typing import Any

from rlaif_judges.backends.patience import Clock

TURNS = 50
"""So often a task may go on before time passes: nothing here has more to do at one moment."""


class Virtual:
    """Seconds that pass when all sleep."""

    def __init__(self) -> None:
        self.time, self.slept = 0.0, list[float]()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self.clock = Clock(lambda: self.time, self.sleep, random.Random(0).random)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._count += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + seconds, self._count, future))
        await future

    def run(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return asyncio.run(self._drive(work))

    async def _drive(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        task = asyncio.create_task(work())
        while True:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            if task.done():
                return task.result()
            assert self._sleepers, "everybody waits for somebody else"
            self.time, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
