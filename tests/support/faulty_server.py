"""A server on the loopback that speaks as much of the OpenAI protocol as a script says, faults included.

A script is a list of answers, of which the last is repeated, or a function of what came that returns one. Everything
that was sent is kept in `seen`.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 5.0


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    number: int
    at: float = field(default_factory=time.monotonic)


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
Script = Callable[[Seen], Answer]


def raw(data: bytes) -> Answer:
    """These bytes and nothing else."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return send


def http(status: int, body: bytes, **headers: str) -> bytes:
    told = {"content-type": "application/json", "content-length": str(len(body))}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + body


def reply(body: Any, status: int = 200, **headers: str) -> Answer:
    """A body as JSON (NaN and Infinity as Python writes them), or the bytes themselves."""
    return raw(http(status, body if isinstance(body, bytes) else json.dumps(body).encode(), **headers))


def error(status: int, message: str = "no", **more: Any) -> Answer:
    headers = {name: more.pop(name) for name in ("retry_after", "location") if name in more}
    return reply({"error": {"message": message} | more}, status, **headers)


def completion(content: str | None, finish: str = "stop", **more: Any) -> dict[str, Any]:
    """The body of a chat completion; `more` goes into its one choice."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish} | more
    return {"object": "chat.completion", "choices": [choice], "usage": {"prompt_tokens": 50, "completion_tokens": 2}}


def chat(content: str | None, finish: str = "stop", **more: Any) -> Answer:
    return reply(completion(content, finish, **more))


def scored(pairs: Sequence[tuple[str, float]] | Mapping[str, float], content: str = "A") -> Answer:
    """A first token with these (token, probability) alternatives."""
    pairs = list(pairs.items() if isinstance(pairs, Mapping) else pairs)
    return listed([{"token": token, "logprob": math.log(p) if p else -9999.0} for token, p in pairs], content)


def listed(alternatives: list[Any], content: str = "A") -> Answer:
    """A first token with these alternatives, as they are."""
    position = {"token": content, "logprob": -0.1, "bytes": None, "top_logprobs": alternatives}
    return chat(content, "length", logprobs={"content": [position]})


def decided(probabilities: Mapping[str, float]) -> Answer:
    choice = max(probabilities, key=lambda name: probabilities[name])
    answer = {"type": "choice", "choice": choice, "confidence": 0.5, "probabilities": dict(probabilities)}
    usage = {"input_tokens": 40, "output_tokens": 0}
    return reply({"model": "m", "answers": {"choice": answer}, "usage": usage})


def slow(seconds: float, then: Answer) -> Answer:
    async def send(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await then(writer)

    return send


def trickle(data: bytes, every: float = 0.05) -> Answer:
    """One byte at a time, so that something always comes and it never ends."""

    async def send(writer: asyncio.StreamWriter) -> None:
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(every)

    return send


def cut(data: bytes, keep: int) -> Answer:
    """The beginning, and then the connection is closed."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(data[:keep])
        await writer.drain()
        writer.close()

    return send


def reset() -> Answer:
    """The connection is reset without a word."""

    async def send(writer: asyncio.StreamWriter) -> None:
        plug: socket.socket = writer.get_extra_info("socket")
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return send


class FaultyServer:
    """Runs in a thread of its own between `with` and its end."""

    def __init__(self, script: Sequence[Answer] | Script) -> None:
        self._script = script if callable(script) else None
        self._answers = [] if callable(script) else list(script)
        self.seen: list[Seen] = []
        self.cancelled = 0
        self.most = self._now = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> FaultyServer:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._talk, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                pairs = (line.split(": ", 1) for line in head[1:] if ": " in line)
                headers = {name.lower(): value for name, value in pairs}
                body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or b"{}")
                seen = Seen(head[0].split(" ")[1], headers, body, len(self.seen))
                self.seen.append(seen)
                await self._answer(seen, reader, writer)
                if writer.is_closing():
                    return
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._script is not None:
            answer = self._script(seen)
        else:
            answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        self._now += 1
        self.most = max(self.most, self._now)
        work = asyncio.ensure_future(answer(writer))
        gone = asyncio.ensure_future(_gone(reader))
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        self._now -= 1
        self.cancelled += not work.done()
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _gone(reader: asyncio.StreamReader) -> None:
    """Return when whoever asked has left: clients send nothing more before they have a reply."""
    while not reader.at_eof():
        await asyncio.sleep(0.01)
