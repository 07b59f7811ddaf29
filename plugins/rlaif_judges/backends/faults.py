"""What goes wrong between a question and its reply, told apart by what helps: to wait and ask again, or nothing.

What is wrong with every request (a key, a model) is an error of the run's own family and no matter of patience.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from rlaif_core import ConfigError, FeedbackError
from rlaif_core.errors import inert

QUOTED = 200
"""Characters of what a server said that are quoted."""
DOWN = frozenset({502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses that speak of the server and not of the request (520 to 524 are what proxies say of servers)."""
AGAIN = frozenset({408, 409, 425, 429})
NOWHERE = frozenset({404, 405, 410, 501})
OTHER = frozenset({"input", "messages", "prompt"})
"""Fields that differ between requests: a complaint about another one is about all of them."""


class Fault(Exception):  # noqa: N818  it may pass
    """No reply, or none that can be read; to ask again may help.

    `server`: it speaks of the server, not of this request. `wait`: seconds that the server asked to be left alone.
    """

    def __init__(self, reason: str, *, server: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.server, self.wait = reason, server, wait


class Unanswered(Exception):  # noqa: N818  an outcome
    """There will be no reply to this request; what was paid for it nevertheless is `cost`."""

    def __init__(self, reason: str, cost: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.cost = reason, cost


class Otherwise(Unanswered):
    """There is a reply, as it should be, but it says something else than what was asked."""


class Lacking(Unanswered):
    """The reply leaves out what the way of reading asks for."""


class Down(Unanswered):
    """The server was waited for as long as patience lasts."""


class Unsupported(ConfigError):  # noqa: N818  a kind of it
    """The server refuses what the way of reading, or an option, asks for."""


def quoted(text: str) -> str:
    """The beginning of a text that somebody else wrote, on one line, with nothing in it that steers a terminal."""
    start = " ".join(text[: 4 * QUOTED].split())
    return inert(start[:QUOTED] + ("..." if len(start) > QUOTED else ""))


def message_of(body: Any) -> str:
    """What a server says in the body of an error, however it puts it."""
    for _ in range(4):  # {"error": {"message": ...}}, {"detail": [{"msg": ...}]} and the like
        names = [name for name in ("error", "detail", "message", "msg") if isinstance(body, Mapping) and body.get(name)]
        if names:
            body = body[names[0]]
        elif isinstance(body, list) and body:
            body = body[0]
    return quoted(body if isinstance(body, str) else repr(body))


def fault_of(status: int, headers: Mapping[str, str], body: Any, *, where: str, model: str, key: str) -> Exception:
    """What a reply that is none means: an error for all requests, `Unanswered` for this one, `Fault` to ask again.

    `where` is the address that was asked, `key` the name of the variable with the key.
    """
    inner = body.get("error", body) if isinstance(body, Mapping) else {}
    inner = inner if isinstance(inner, Mapping) else {}
    said, code, field = message_of(body), str(inner.get("code")), str(inner.get("param") or "").partition("[")[0]
    told = f"{where} answered {status}: {said}"
    if status == 402 or "insufficient_quota" in (code, inner.get("type")):
        return FeedbackError(f"{told}; the account behind {key} has no credit left: top it up, then resume")
    if status in AGAIN or (status >= 500 and status not in NOWHERE):
        return Fault(told, server=status in DOWN or status == 429, wait=asked_to_wait(headers))
    if status < 400:
        return ConfigError(f"{told}; it sends elsewhere: set base_url to where the server is")
    if status in (401, 403):
        return ConfigError(f"{told}; export a key that is valid there as {key or '..., and name that by key'}")
    if "model_not_found" in code or field == "model" or any(f"{q}{model}{q}" in said for q in "'`\""):
        return ConfigError(f"{told}; set model to one that the server has")
    if status in NOWHERE:
        return Unsupported(f"{told}; set base_url to the address before /chat/completions, and model to what is there")
    if field and field.partition(".")[0] not in OTHER:
        return Unsupported(f"{told}; set read, or options, to what the server knows")
    return Unanswered(told)


def asked_to_wait(headers: Mapping[str, str], now: float | None = None) -> float:
    """Seconds that Retry-After asks for, given in seconds or as a date (RFC 9110, 10.2.3); 0 where it asks for none."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
        except (TypeError, ValueError, OverflowError):
            return 0.0
    return seconds if seconds > 0 else 0.0  # also where it is nan
