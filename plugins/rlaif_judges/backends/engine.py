"""What runs behind a backend: an event loop in a daemon thread of its own, with one pool of connections for its life.

Whoever asks stays in a thread of its own, where Ctrl-C reaches it; requests go in by `Call.put` and come out of
`Call.replies`. All that they share (the circuit, the buckets, how choices are read) is touched by the loop alone.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from rlaif_core import Failed, FeedbackError
from rlaif_judges.asking import Message, Reply, Request
from rlaif_judges.backends.connection import Connection
from rlaif_judges.backends.faults import Down, Otherwise, Unanswered, Unsupported
from rlaif_judges.backends.pace import Pace
from rlaif_judges.backends.patience import Clock, Patience
from rlaif_judges.backends.reading import Reading, Text, readings
from rlaif_judges.backends.server import Server
from rlaif_judges.backends.shapes import parsed

T = TypeVar("T")
Outcome = Reply | Failed | BaseException

PROBE = Request(
    messages=(Message(role="user", content="Which letter comes first in the alphabet?"),), options=("A", "B")
)
"""What a server is asked to find out how it lets a choice be read."""
CLOSED = "the judge was closed while it was asked"
ALIVE = 5.0
"""Seconds after which whoever waits makes sure that there is somebody to wait for."""
LETTERS = 4
"""Bytes of text in a token, about, to know what to take from a bucket before a reply says how many there were."""


class Call:
    """One stream of requests; `replies` gets lists of (number, outcome), in the order in which they come."""

    def __init__(self, engine: Engine) -> None:
        self.replies: SimpleQueue[list[tuple[int, Outcome]]] = SimpleQueue()
        self._come: list[tuple[int, Outcome]] = []
        self.closed = False
        self.tasks: set[asyncio.Task[None]] = set()
        self._engine = engine
        engine.look()

    def put(self, number: int, request: Request) -> None:
        self._engine.post(self, number, request)

    def take(self) -> list[tuple[int, Outcome]]:
        """The outcomes that have come, one at least; `FeedbackError` where none will."""
        while True:
            try:
                return self.replies.get(timeout=ALIVE)
            except Empty:
                self._engine.insist_alive()

    def come(self, number: int, outcome: Outcome) -> None:
        """An outcome, in the loop's thread; whoever waits is woken once for all that come at the same moment."""
        if not self._come:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._come.append((number, outcome))

    def _hand_over(self) -> None:
        self.replies.put(self._come)
        self._come = []

    def close(self) -> None:
        """Cancel what is under way."""
        self.closed = True
        self._engine.soon(lambda: [task.cancel() for task in tuple(self.tasks)])


class Engine:
    """Answers requests in the background of this process, as long as it is not stopped."""

    def __init__(self, server: Server, clock: Clock, found: str) -> None:
        self.server, self.found = server, found
        self._clock = clock
        self._process = os.getpid()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._inbox: deque[tuple[Call, int, Request]] = deque()
        self._awake = False
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event
        self._readings = readings(server.mass)
        self._finding: asyncio.Task[Reading] | None = None

    def start(self) -> None:
        """Start the thread, unless it runs; what is wrong with the key is said here."""
        with self._starting:
            if self._thread is None:
                connection, ready = Connection(self.server), threading.Event()
                self._thread = threading.Thread(
                    target=lambda: asyncio.run(self._run(connection, ready)), name="rlaif-judge", daemon=True
                )
                self._thread.start()
                ready.wait()

    def stop(self) -> None:
        """End the thread, and whatever is under way with an error; in a fork, the parent's is left alone."""
        thread = self._thread
        if thread is None or os.getpid() != self._process:
            return
        self.soon(lambda: self._over.set())
        if thread is not threading.current_thread():
            thread.join(timeout=5)

    def soon(self, work: Callable[[], object]) -> None:
        """Let the loop do something, if it still runs."""
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:  # it is closed
            return

    def insist_alive(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            raise FeedbackError(CLOSED)

    def look(self) -> None:
        """Have the loop look for requests, even if an interrupted thread left it believing that it was told to."""
        self._awake = True
        self.soon(self._look)

    def post(self, call: Call, number: int, request: Request) -> None:
        """Hand over a request; the loop is woken once for all that come before it looks."""
        self._inbox.append((call, number, request))
        if not self._awake:
            self.look()

    def wait_for(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of a coroutine of this engine, for a thread that waits."""
        future = asyncio.run_coroutine_threadsafe(work(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def reading(self) -> Reading:
        """How choices are read: as the options say, or as is found out once."""
        name = self.found or self.server.read
        if name != "auto":
            return self._readings[name]
        if self._finding is None or (self._finding.done() and not self.found):
            self._finding = asyncio.create_task(self._find())
            self._finding.add_done_callback(lambda task: task.cancelled() or task.exception())  # none may be waiting
        return await asyncio.shield(self._finding)

    # ---- in the loop's thread --------------------------------------------------------------------------------------

    async def _run(self, connection: Connection, ready: threading.Event) -> None:
        server, clock = self.server, self._clock
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._connection = connection
        self._patience = Patience(server.retries, server.patience, clock)
        self._pace = Pace(server.requests_per_minute, server.tokens_per_minute, clock)
        self._room = asyncio.Semaphore(server.concurrency)
        ready.set()
        try:
            await self._over.wait()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        finally:
            await connection.close()

    def _look(self) -> None:
        self._awake = False
        while self._inbox:
            call, number, request = self._inbox.popleft()
            if not call.closed:
                task = self._loop.create_task(self._work(call, number, request))
                call.tasks.add(task)
                task.add_done_callback(call.tasks.discard)

    async def _work(self, call: Call, number: int, request: Request) -> None:
        outcome: Outcome
        try:
            async with self._room:
                reading: Reading = await self.reading() if request.options else Text()
                outcome = await self._answered(reading, request)
        except Unanswered as error:
            outcome = Failed(error.reason, error.cost)
        except asyncio.CancelledError:
            call.replies.put([(number, FeedbackError(CLOSED))])  # the loop may do nothing more
            raise
        except BaseException as error:  # noqa: BLE001  not swallowed: it is raised where the replies are taken
            outcome = error
        call.come(number, outcome)

    async def _answered(self, reading: Reading, request: Request) -> Reply:
        body = reading.body(request)
        if reading.open:
            body |= self.server.options
        expected = _expected(request)
        return await self._patience.insist(lambda: self._asked(reading, request, body, expected))

    async def _asked(self, reading: Reading, request: Request, body: dict[str, Any], expected: float) -> Reply:
        await self._pace.enter(expected)
        began = self._loop.time()
        said = parsed(reading.shape, await self._connection.send(reading.path, body))
        seconds = self._loop.time() - began
        read, written = said.tokens()
        self._pace.correct(expected, read + written)
        cost = (read * self.server.price_in + written * self.server.price_out) / 1e6
        try:
            heard = reading.heard(request, said)
        except Unanswered as error:
            error.cost = cost
            raise
        return Reply(
            text=heard.text,
            probabilities=heard.probabilities,
            mass=heard.mass,
            cut=heard.cut,
            tokens_in=read,
            tokens_out=written,
            cost=cost,
            seconds=seconds,
        )

    async def _find(self) -> Reading:
        """The first way in which the server answers a question of which the answer is plain.

        Where it answers in none, the first in which it said something at all: a model may be that weak.
        """
        able = []
        for name, reading in self._readings.items():
            try:
                await self._answered(reading, PROBE)
            except Otherwise:
                able.append(name)
            except Down:
                raise
            except Unsupported:
                if name == "json":  # which asks for nothing but a chat
                    raise
            except Unanswered:
                continue
            else:
                able = [name]
                break
        self.found = (able or ["json"])[0]
        return self._readings[self.found]


def _expected(request: Request) -> float:
    """Tokens that a request will read and write, about."""
    written = 1 if request.options else request.max_tokens
    return sum(len(message.content.encode(errors="replace")) for message in request.messages) / LETTERS + written
