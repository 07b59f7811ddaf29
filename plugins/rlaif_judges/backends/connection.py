"""One pool of connections to a server, by the official client: a body out, the bytes of its reply back.

The client's own retries are off, so that there is one policy, and aiohttp carries its requests, which with many at a
time takes half the processor time. A reply has a size and a time that it cannot exceed, and the key is taken out
of whatever the server says before anybody reads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import aiohttp
import openai

from rlaif_core.errors import first_line
from rlaif_judges.backends.faults import Fault, Unanswered, fault_of, message_of, quoted
from rlaif_judges.backends.server import Server

LARGEST = 16 * 2**20
"""Bytes of a reply that are read: more than a million characters take, each escaped."""
PACKED = ("gzip", "deflate")
"""What a reply may be packed as: a few bytes of these cannot become very many."""
IDLE = 4.0
"""Seconds after which an unused connection is closed: before the server does, which would fail a request."""
SECRET = 12
"""A key of fewer characters is no secret and may occur in any text."""
NO_KEY = "none"


class Connection:
    """Sends bodies to one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._key = server.secret()
        self._client = openai.AsyncOpenAI(
            api_key=self._key or NO_KEY,
            base_url=server.url,
            max_retries=0,
            timeout=None,
            http_client=_Bounded(self._key, server.concurrency),
        )
        self._renamed = False

    async def send(self, path: str, body: Mapping[str, Any]) -> bytes:
        """The body of the reply to `body`. Raises `Fault`, `Unanswered`, or an error that is about every request."""
        sent = {"model": self._server.model, **body}
        if self._renamed and "max_tokens" in sent:
            sent["max_completion_tokens"] = sent.pop("max_tokens")
        try:
            async with asyncio.timeout(self._server.timeout):
                return await self._client.post(path, cast_to=bytes, body=sent)
        except TimeoutError:
            raise Fault(f"{self._server.url} gave no whole reply within {self._server.timeout:g} s") from None
        except openai.APIStatusError as error:
            if "max_tokens" in sent and "max_completion_tokens" in message_of(error.body):
                self._renamed = True  # what models that reason call it
                return await self.send(path, body)
            raise self._meant(error, path) from None
        except openai.APIConnectionError as error:
            raise Fault(f"no reply from {self._server.url}: {_cause(error)}", server=True) from None
        except aiohttp.ClientError as error:  # the client knows no name for it
            raise Fault(f"{self._server.url} speaks no HTTP that can be read: {_cause(error)}") from None

    async def close(self) -> None:
        await self._client.close()

    def _meant(self, error: openai.APIStatusError, path: str) -> Exception:
        its = self._server
        headers, where = error.response.headers, its.url + path
        return fault_of(error.status_code, headers, error.body, where=where, model=its.model, key=its.key)


class _Bounded(openai.DefaultAioHttpClient):
    """Reads replies whole, up to `LARGEST` bytes, and takes the key out."""

    def __init__(self, key: str, connections: int) -> None:
        base = next(its for its in _Bounded.__mro__ if its.__name__ == "AsyncClient")
        library = import_module(base.__module__.partition(".")[0])  # httpx, or what took its place
        limits = library.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=IDLE
        )
        packed = {"Accept-Encoding": ", ".join(PACKED)}
        super().__init__(limits=limits, headers=packed, follow_redirects=False)  # the key goes where it was meant to go
        self._secret = key.encode() if len(key) >= SECRET else b""

    async def send(self, request: Any, **how: Any) -> Any:
        response = await super().send(request, **(how | {"stream": True}))
        body = bytearray()
        try:
            if (packed := response.headers.get("content-encoding", "identity")) not in (*PACKED, "identity"):
                raise Unanswered(f"the server's reply is packed as {quoted(packed)}, which was not asked for")
            async for some in response.aiter_bytes():
                body += some
                if len(body) > LARGEST:
                    raise Unanswered(f"the server's reply is larger than {LARGEST >> 20} MiB")
        finally:
            await response.aclose()
        content = bytes(body)
        if self._secret and self._secret in content:
            content = content.replace(self._secret, b"***")
        undone = ("content-encoding", "content-length", "transfer-encoding")
        headers = [(name, value) for name, value in response.headers.multi_items() if name not in undone]
        return type(response)(response.status_code, headers=headers, content=content, request=request)


def _cause(error: BaseException) -> str:
    """What lies under an error of the client, which itself says next to nothing."""
    while error.__cause__ is not None:
        error = error.__cause__
    return quoted(f"{type(error).__name__}: {first_line(error)}".rstrip(": "))
