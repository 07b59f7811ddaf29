"""Two clocks, one that passes only as it is slept and a real one that hardly waits; and a backend to ask with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from faulty_server import FaultyServer
from rlaif_judges.backends.openai import OpenAI
from rlaif_judges.backends.patience import Clock
from rlaif_judges.backends.server import Server
from virtual import Virtual


@pytest.fixture
def virtual() -> Virtual:
    return Virtual()


@pytest.fixture
def hasty() -> Clock:
    """Real time, but waits are short."""
    return Clock(sleep=lambda seconds: asyncio.sleep(min(seconds, 0.002)))


@pytest.fixture
def asked(hasty: Clock) -> Iterator[Any]:
    """asked(server, **options): a backend that asks it, and hardly waits; closed when the test ends."""
    opened: list[OpenAI] = []

    def ask(server: FaultyServer | str, *, clock: Clock = hasty, **options: Any) -> OpenAI:
        url = server if isinstance(server, str) else server.url
        told = {"model": "m-7b", "read": "logprobs", "timeout": 5.0, "patience": 5.0, "key": "JUDGE_KEY"} | options
        opened.append(OpenAI(Server(base_url=url, **told), clock=clock))
        return opened[-1]

    yield ask
    for backend in opened:
        backend.close()
