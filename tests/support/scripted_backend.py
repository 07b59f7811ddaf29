"""A backend that answers by a script and counts what it is asked, and a process that asks it through a desk.

python scripted_backend.py '{"cache": "...", "count": 100, ...}'     prints a JSON object of what came of it
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rlaif_core import Failed, RlaifError
from rlaif_judges.asking import Message, Reply, Request
from rlaif_judges.economy.budget import Economy
from rlaif_judges.economy.desk import Desk

TOKENS, COST = 11, 0.25
"""What one call takes, read and written, and costs: a number that adds up without rounding."""


def request(number: int | str, **options: Any) -> Request:
    return Request(messages=(Message(role="user", content=f"question {number}"),), options=("A", "B"), **options)


def reply(asked: Request) -> Reply:
    """The same for the same request."""
    share = hashlib.sha256(asked.messages[-1].content.encode("utf-8", "surrogatepass")).digest()[0] / 255
    return Reply(text=f"so be it: {share}", probabilities=(share, 1 - share), tokens_in=10, tokens_out=1, cost=COST)


class Scripted:
    """Answers `say(request)`, `seconds` after it was asked, with at most `concurrency` under way; every call is an
    item of `calls`, and a line of `log`, which processes may share."""

    def __init__(
        self,
        say: Callable[[Request], Reply | Failed] = reply,
        *,
        seconds: float = 0.0,
        concurrency: int = 1,
        log: Path | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.say, self.seconds, self.concurrency, self.log = say, seconds, concurrency, log
        self.identity: Mapping[str, Any] = identity or {"model": "scripted", "url": "http://127.0.0.1/v1"}
        self.calls: list[str] = []
        self.closed = False

    def answer(self, requests: Iterable[tuple[int, Request]]) -> Iterator[tuple[int, Reply | Failed]]:
        pending: deque[tuple[float, int, Request]] = deque()
        source, more = iter(requests), True
        try:
            while pending or more:
                while more and len(pending) < self.concurrency:
                    if (item := next(source, None)) is None:
                        more = False
                        break
                    self.asked(item[1])
                    pending.append((time.monotonic() + self.seconds, *item))
                if pending:
                    due, number, asked = pending.popleft()
                    time.sleep(max(due - time.monotonic(), 0))
                    yield number, self.say(asked)
        finally:
            self.closed = True

    def asked(self, asked: Request) -> None:
        self.calls.append(asked.messages[-1].content)
        if self.log is not None:
            with self.log.open("a") as file:  # one short write to the end of the file is one line
                file.write(f"{os.getpid()} {asked.messages[-1].content}\n")


def main(
    cache: str,
    log: str,
    count: int,
    start: int = 0,
    seconds: float = 0.0,
    concurrency: int = 1,
    lease: float = 15.0,
    go: str = "",
    **economy: Any,
) -> dict[str, Any]:
    backend = Scripted(seconds=seconds, concurrency=concurrency, log=Path(log))
    desk = Desk(backend, judge="main", economy=Economy(cache=cache, **economy), lease=lease)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while go and not Path(go).exists():
        time.sleep(0.005)
    try:
        said = desk.answer([request(number) for number in range(start, start + count)])
    except RlaifError as error:
        return {"error": str(error), "calls": len(backend.calls), "account": desk.account}
    finally:
        desk.close()
    kinds = [type(its).__name__ for its in said]
    probabilities = [its.probabilities[0] if isinstance(its, Reply) else None for its in said]
    return {"kinds": kinds, "probabilities": probabilities, "calls": len(backend.calls), "account": desk.account}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(**json.loads(sys.argv[1]))))
