"""What asking a judge costs beside the server's own work: our backend against the bare official client, 64 at a time.

The bare client is `AsyncOpenAI` behind a semaphore, with the same bodies: it waits for nothing, tries nothing again and
reads nothing. One server answers at once, in a process of its own, so that what is measured is the client alone; the
other is `transformers serve` with a small model. Rounds are taken in turn, after one that only warms up. What is said
of processor time is that of the client's process, all threads together.

    python benches/bench_judge.py [--rounds 7] [--save]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import device
import openai
from rich.console import Console

from rlaif_core import Failed
from rlaif_judges.asking import Message, Request
from rlaif_judges.backends.openai import OpenAI
from rlaif_judges.backends.reading import ByDecision, ByLogprobs, Reading, Text
from rlaif_judges.backends.server import Server

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "tests" / "support"))

import serving  # noqa: E402  which the tests start, too

CONCURRENCY = 64
LIMIT = 0.05
"""What our backend may take beyond the bare client where a model answers."""
WORDS = "Which of the two answers is the better one? " * 8


def instant() -> None:
    """Answer every request with the same log-probabilities, at an address that is printed."""
    top = [
        {"token": token, "logprob": -0.5 - place, "bytes": None} for place, token in enumerate("ABCDEFGHIJKLMNOPQRST")
    ]
    position = {"token": "A", "logprob": -0.5, "bytes": None, "top_logprobs": top}
    message = {"role": "assistant", "content": "A"}
    choice = {"index": 0, "message": message, "finish_reason": "length", "logprobs": {"content": [position]}}
    usage = {"prompt_tokens": 90, "completion_tokens": 1, "total_tokens": 91}
    told = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    body = json.dumps(told).encode()
    reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    class Talk(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport, self.heard = transport, b""

        def data_received(self, data: bytes) -> None:
            self.heard += data
            while (end := self.heard.find(b"\r\n\r\n")) >= 0:
                length = int(self.heard[:end].lower().split(b"content-length:")[1].split(b"\r\n")[0])
                if len(self.heard) < end + 4 + length:
                    return
                self.heard = self.heard[end + 4 + length :]
                self.transport.write(reply)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Talk, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(serve())


@contextlib.contextmanager
def instantly() -> Iterator[str]:
    """The address of a server that answers at once, in a process of its own."""
    command = [sys.executable, __file__, "--instant"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        process.terminate()


class Bare:
    """The official client, a semaphore, and an event loop that lives as long."""

    def __init__(self, url: str, model: str, reading: Reading, request: Request, times: int) -> None:
        self._body = {"model": model, **reading.body(request)}
        self._decides = reading.path == "/systemone"
        self._times = times
        self._runner = asyncio.Runner()
        # As it comes, which asks again where the server has just closed a connection that nobody used.
        self._client = openai.AsyncOpenAI(api_key="none", base_url=url, timeout=60)

    def __call__(self) -> None:
        self._runner.run(self._all())

    async def _all(self) -> None:
        room = asyncio.Semaphore(CONCURRENCY)

        async def one() -> None:
            async with room:
                if self._decides:  # the client knows no method for it
                    await self._client.post("/systemone", cast_to=object, body=self._body)
                else:
                    await self._client.chat.completions.create(**self._body)

        await asyncio.gather(*(one() for _ in range(self._times)))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


class Ours:
    """The same through the backend, in the way in which judges ask."""

    def __init__(self, url: str, model: str, read: Any, request: Request, times: int) -> None:
        self._requests = [(number, request) for number in range(times)]
        self._backend = OpenAI(Server(model=model, base_url=url, read=read, concurrency=CONCURRENCY, mass=0))

    def __call__(self) -> None:
        for _, said in self._backend.answer(self._requests):
            if isinstance(said, Failed):
                raise RuntimeError(said.reason)

    def close(self) -> None:
        self._backend.close()


def timed(work: Callable[[], None], times: int) -> tuple[float, float]:
    """Requests a second, and milliseconds of processor time for each."""
    began, used = time.perf_counter(), time.process_time()
    work()
    return times / (time.perf_counter() - began), (time.process_time() - used) / times * 1e3


def compared(url: str, model: str, read: str, request: Request, times: int, rounds: int) -> dict[str, Any]:
    """Medians of both, and of their ratios round by round."""
    readings: dict[str, Reading] = {"text": Text(), "logprobs": ByLogprobs(0.0), "decision": ByDecision()}
    bare = Bare(url, model, readings[read], request, times)
    ours = Ours(url, model, "json" if read == "text" else read, request, times)
    figures: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
    try:
        for turn in range(rounds + 1):
            sides = [("bare", bare), ("ours", ours)]
            for name, work in sides if turn % 2 else reversed(sides):
                figure = timed(work, times)
                if turn:
                    figures[name].append(figure)
    finally:
        bare.close()
        ours.close()
    pairs = list(zip(figures["bare"], figures["ours"], strict=True))
    return {
        "requests": times,
        "requests a second": {name: statistics.median(rate for rate, _ in its) for name, its in figures.items()},
        "processor ms a request": {name: statistics.median(ms for _, ms in its) for name, its in figures.items()},
        "time beyond the bare client": statistics.median(theirs[0] / own[0] for theirs, own in pairs) - 1,
    }


def main() -> None:
    real_data = Path(os.environ.get("RLAIF_REAL_DATA", HERE.parents[1] / "shared"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=real_data / "models" / "tiny-chat")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--save", action="store_true", help="keep the figures in results/<device>.json")
    parser.add_argument("--instant", action="store_true", help=argparse.SUPPRESS)
    options, console = parser.parse_args(), Console()
    if options.instant:
        instant()
        return
    said = (Message(role="user", content=WORDS),)
    pick, write = Request(messages=said, options=("A", "B")), Request(messages=said, max_tokens=8)
    cases: dict[str, dict[str, Any]] = {}
    with instantly() as url:
        cases["a server that answers at once"] = compared(url, "m", "logprobs", pick, 1000, options.rounds)
    if why := serving.lacking(options.model):
        console.print(f"without a model: {why}")
    else:
        with serving.served(options.model) as url:
            model = str(options.model)
            cases["transformers serve, 8 tokens"] = compared(url, model, "text", write, 256, options.rounds)
            cases["transformers serve, decisions"] = compared(url, model, "decision", pick, 256, options.rounds)
    for name, case in cases.items():
        rates, work = case["requests a second"], case["processor ms a request"]
        console.print(
            f"{name:<30} bare {rates['bare']:6.0f}/s {work['bare']:5.2f} ms   ours {rates['ours']:6.0f}/s "
            f"{work['ours']:5.2f} ms   {case['time beyond the bare client']:+.1%} time"
        )
    kept = all(case["time beyond the bare client"] <= LIMIT for case in cases.values())
    console.print(f"the limit is {LIMIT:+.0%}: {'kept' if kept else '[bold]exceeded[/]'}")
    if options.save:
        console.print("saved:", device.save("judge's client", {"rounds": options.rounds, "cases": cases}))


if __name__ == "__main__":
    main()
