"""How often and how long a server is asked again, and what becomes of everybody else while it is down.

One request that fails is sent again after a random wait that grows: "full jitter" (M. Brooker, Exponential Backoff And
Jitter, AWS Architecture Blog, 2015). When requests fail in a row, whichever they are, the circuit opens (M. Nygard,
Release It!): all wait, and one at a time tries, until one succeeds or patience is at its end for all at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from rlaif_judges.backends.faults import Down, Fault, Unanswered

T = TypeVar("T")

FIRST, LONGEST = 0.5, 30.0
"""Seconds of the first wait, at most, and of any."""
ROW = 5
"""Failures in a row that open the circuit."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds as they pass, how to let some pass, and a random number in [0, 1), which is none of the run's."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Callable[[], float] = field(default_factory=lambda: random.Random().random)

    def wait_after(self, failures: int) -> float:
        """Seconds to wait after so many failures, 1 or more: uniform up to a bound that doubles with each."""
        return self.random() * min(LONGEST, FIRST * 2.0 ** min(failures - 1, 32))


class Circuit:
    """Whether requests may be sent. Closed: all. Open: one at a time, the others wait for what becomes of it."""

    def __init__(self, patience: float, clock: Clock) -> None:
        self._patience, self._clock = patience, clock
        self._row = 0
        self._failing: set[object] = set()
        self._opened: float | None = None
        self._last = ""
        self._spent = False
        self._tries, self._due, self._quiet = 0, 0.0, 0.0
        self._prober: object = None
        self._waiting: deque[tuple[object, asyncio.Future[None]]] = deque()

    async def enter(self, who: object) -> None:
        """Return when `who` may send; raise `Down` where the server has been down for longer than patience."""
        if (wait := self._quiet - self._clock.now()) > 0:
            if wait > self._patience:
                raise Down(f"the server asks to wait {wait:.0f} s, longer than patience ({self._patience:g} s)")
            await self._clock.sleep(wait * (1 + 0.1 * self._clock.random()))  # not all in the same instant
        while self._opened is not None:
            if self._prober is None:
                self._prober = who
            if self._prober is who:
                await self._turn(self._opened)
                return
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((who, turn))
            try:
                await turn
            except asyncio.CancelledError:
                self.left(who)
                raise

    async def _turn(self, opened: float) -> None:
        """Wait until the one that tries may do so: at the latest when patience ends, for a last time."""
        now = self._clock.now()
        if self._spent and now < self._due:
            self._prober = None
            raise Down(
                f"the server has been down for {now - opened:.0f} s, longer than patience "
                f"({self._patience:g} s): {self._last}"
            )
        until = self._due if self._spent else min(self._due, opened + self._patience)
        try:
            await self._clock.sleep(max(until - now, 0.0))
        except BaseException:
            self._pass_on()
            raise

    def left(self, who: object) -> None:
        """`who` neither succeeded nor failed: it was cancelled."""
        if self._prober is who:
            self._pass_on()

    def succeeded(self) -> None:
        self._row = 0
        self._failing.clear()
        if self._opened is not None:
            self._opened, self._prober, self._spent, self._tries = None, None, False, 0
            self._wake_all()

    def failed(self, who: object, fault: Fault) -> bool:
        """Count a failure, once for a request whose own fault it may be; whether the server counts as down."""
        now = self._clock.now()
        self._quiet = max(self._quiet, now + fault.wait) if fault.wait else self._quiet
        if self._opened is None:
            if fault.server or who not in self._failing:
                self._failing.add(who)
                self._row += 1
            if self._row < ROW:
                return False
            self._opened = now
        elif self._prober is not who:  # sent before the circuit opened
            return True
        self._last = fault.reason
        self._tries += 1
        self._due = max(now + self._clock.wait_after(self._tries), self._quiet)
        if now >= self._opened + self._patience:
            self._spent, self._prober = True, None
            self._wake_all()
        else:
            self._pass_on()
        return True

    def _pass_on(self) -> None:
        """The next in the queue tries: one that fails every time must not hold up the others."""
        self._prober = None
        while self._waiting and self._prober is None:
            who, turn = self._waiting.popleft()
            if not turn.done():
                self._prober = who
                turn.set_result(None)

    def _wake_all(self) -> None:
        for _, turn in self._waiting:
            if not turn.done():
                turn.set_result(None)
        self._waiting.clear()


class Patience:
    """Asks until there is a reply: `retries` times more for one request, `patience` seconds at most."""

    def __init__(self, retries: int, patience: float, clock: Clock) -> None:
        self._retries, self._patience, self._clock = retries, patience, clock
        self._circuit = Circuit(patience, clock)

    async def insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` returns at last. What it raises besides `Fault` is final; `Unanswered` when all was in vain.

        Failures while the server counts as down are not those of the request: it waits as long as the others.
        """
        who, began, failures = object(), self._clock.now(), 0
        while True:
            await self._circuit.enter(who)
            try:
                result = await attempt()
            except Fault as fault:
                if self._circuit.failed(who, fault):
                    continue
                failures += 1
                wait = max(self._clock.wait_after(failures), fault.wait)
                if failures > self._retries:
                    raise Unanswered(f"{fault.reason} (asked {failures} times)") from fault
                if self._clock.now() + wait - began > self._patience:
                    raise Unanswered(
                        f"{fault.reason} (asked for longer than patience, {self._patience:g} s)"
                    ) from fault
                await self._clock.sleep(wait)
            except Unanswered:
                self._circuit.succeeded()  # the server is there
                raise
            except BaseException:
                self._circuit.left(who)
                raise
            else:
                self._circuit.succeeded()
                return result
