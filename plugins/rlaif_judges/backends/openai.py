"""The backend for servers that speak the OpenAI protocol: vLLM, SGLang, llama.cpp, `transformers serve`, OpenAI itself.

This room is the one that judges see; what happens behind it (connections, patience, pace, how a choice is read) has
rooms of its own beside it.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rlaif_core import ConfigError, Failed, FeedbackError
from rlaif_judges.asking import Reply, Request
from rlaif_judges.backends.engine import Call, Engine, Outcome
from rlaif_judges.backends.faults import Unanswered
from rlaif_judges.backends.patience import Clock
from rlaif_judges.backends.server import Server


class OpenAI:
    """A `Backend` that asks a server, `concurrency` requests at a time.

    A failure that may pass is waited for: a request is sent again as often and as long as `Server` says, and while the
    server is down nobody is failed until patience is at its end. A key or a model that the server does not know raises
    `ConfigError`, an account without credit `FeedbackError`; nothing more is sent then. After a fork the child connects
    anew. Threads may ask at the same time; they share connections, limits and patience.
    """

    def __init__(self, server: Server, *, clock: Clock | None = None) -> None:
        if not server.model:
            raise ConfigError(f"the judge at {server.url} has no model; set model to one that the server has")
        server.secret()  # said now, rather than in the middle of a run
        self.server = server
        self._clock = clock or Clock()
        self._engines: dict[int, Engine] = {}
        self.found = ""

    def __repr__(self) -> str:
        return f"OpenAI({self.server.model!r} at {self.server.url})"

    @property
    def identity(self) -> Mapping[str, Any]:
        """What replies depend on. With read = "auto" the server is asked, once, how it lets a choice be read;
        `FeedbackError` where it does not answer."""
        its = self.server
        return {
            "backend": "openai",
            "url": its.url,
            "model": its.model,
            "read": self.read,
            "mass": its.mass,
            "options": dict(its.options),
        }

    @property
    def read(self) -> str:
        """How choices are read, as configured or as found out."""
        if self.server.read != "auto":
            return self.server.read
        if not self.found:
            engine = self._engine()
            try:
                engine.wait_for(engine.reading)
            except Unanswered as error:
                where = self.server.url
                raise FeedbackError(f"{where} does not say how it lets a choice be read: {error.reason}") from None
            self.found = engine.found
        return self.found

    @property
    def subject(self) -> str:
        """The server whose ways are found out."""
        return (
            f"how {self.server.url} lets a choice of {self.server.model} be read" if self.server.read == "auto" else ""
        )

    def answer(self, requests: Iterable[tuple[int, Request]]) -> Iterator[tuple[int, Reply | Failed]]:
        """Each request's reply under its number, in the order in which they come; see `Backend`."""
        call, source = Call(self._engine()), iter(requests)
        ready: deque[tuple[int, Outcome]] = deque()
        under_way, more = 0, True
        try:
            while True:
                while more and under_way < self.server.concurrency:
                    try:
                        number, request = next(source)
                    except StopIteration:
                        more = False
                    else:
                        call.put(number, request)
                        under_way += 1
                if not under_way:
                    return
                if not ready:
                    ready.extend(call.take())
                number, outcome = ready.popleft()
                under_way -= 1
                if isinstance(outcome, BaseException):
                    raise outcome
                yield number, outcome
        finally:
            call.close()

    def close(self) -> None:
        """End the connections; whoever asks again is connected anew."""
        for engine in (self._engines.pop(process) for process in list(self._engines)):
            engine.stop()

    def _engine(self) -> Engine:
        """That of this process: threads do not survive a fork."""
        process = os.getpid()
        engine = self._engines.get(process)
        if engine is None:
            mine = Engine(self.server, self._clock, self.found)
            engine = self._engines.setdefault(process, mine)  # another thread may have been first
            if engine is mine:
                weakref.finalize(self, Engine.stop, engine)
        engine.start()
        return engine
