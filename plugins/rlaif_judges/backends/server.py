"""Which server answers, and how it is treated: the options that every judge on an OpenAI-compatible server takes."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from rlaif_core import ConfigError
from rlaif_core.options import OWN, OptionGroup

Read = Literal["auto", "logprobs", "decision", "schema", "json"]

OFFICIAL = "https://api.openai.com/v1"
OWNED = frozenset({"logprobs", "messages", "model", "n", "response_format", "stream"})
"""Fields of a request's body that are not for `options`: what is asked and how it is read hangs on them."""


@dataclass(frozen=True, kw_only=True)
class Server(OptionGroup):
    """An OpenAI-compatible server, and how it is treated.

    base_url: as in "http://localhost:8000/v1"; empty: OpenAI's own. key: the name of the environment variable that
    holds the key, which OpenAI demands and a server of one's own need not; it is sent to base_url and shown to nobody.
    read: how a choice is read. "logprobs" takes the probabilities of the first token, "decision" asks the endpoint
    /systemone of `transformers serve`, which gives probabilities, too; "schema" (structured output) and "json" (a plain
    text that must be one JSON object) hear a bare choice, as probability 1. "auto" finds out, by a question of its own,
    which of them in this order the server is able to; that is kept with the replies, and not asked again. mass: with
    "logprobs", the probability that the options must have together.
    concurrency: requests under way at a time. timeout: seconds for one reply. retries: how often a request is sent
    again where that may help. patience: seconds for which it is, and for which a server that is down is waited for.
    requests_per_minute, tokens_per_minute: what the server allows (0: no limit). price_in, price_out: money for a
    million tokens read and written. options: further fields of the body of chat completions, as {top_p = 0.9}.
    """

    model: str = field(default="", metadata=OWN)
    base_url: str = ""
    key: str = "OPENAI_API_KEY"
    read: Read = "auto"
    concurrency: int = 16
    timeout: float = 60.0
    retries: int = 5
    patience: float = 300.0
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    price_in: float = 0.0
    price_out: float = 0.0
    mass: float = 0.1
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.read not in get_args(Read):
            raise ConfigError(f"read is {self.read!r}, but must be one of {', '.join(get_args(Read))}")
        if self.concurrency < 1:
            raise ConfigError(f"concurrency is {self.concurrency}, but must be at least 1")
        if not 0 < self.timeout < math.inf:
            raise ConfigError(f"timeout is {self.timeout}, but must be a finite number of seconds above 0")
        if not 0 <= self.mass <= 1:
            raise ConfigError(f"mass is {self.mass}, but must be in [0, 1]")
        for name in ("retries", "patience", "requests_per_minute", "tokens_per_minute", "price_in", "price_out"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}, but must be a finite number of at least 0")
        self._check_url()
        self._check_options()

    @property
    def url(self) -> str:
        """Where the server is, without a slash at the end."""
        return (self.base_url or OFFICIAL).rstrip("/")

    def secret(self) -> str:
        """The key, from the environment; empty where a server of one's own needs none. Shown to nobody."""
        value = os.environ.get(self.key, "").strip() if self.key else ""
        if not value and not self.base_url:
            raise ConfigError(
                f"the judge at {OFFICIAL} needs a key, and the environment holds none: export {self.key or 'KEY'}=..., "
                "name another variable by key, or give the base_url of a server of your own"
            )
        if not (value.isascii() and value.isprintable() and " " not in value):
            raise ConfigError(f"the key in {self.key} holds a blank or a character that no key has; export it anew")
        return value

    def _check_url(self) -> None:
        try:
            parts = urlsplit(self.url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is none
            good = False
        if not good:
            raise ConfigError(f"base_url is {self.base_url!r}, but must be as in 'http://localhost:8000/v1'")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ConfigError("base_url holds a user, a query or a fragment; give the bare address, and the key by key")

    def _check_options(self) -> None:
        if taken := sorted(OWNED & set(self.options)):
            raise ConfigError(f"options set {', '.join(taken)}, which the judge sets itself; leave them out")
        try:
            json.dumps(dict(self.options), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"options cannot be written as JSON: {error}") from None
