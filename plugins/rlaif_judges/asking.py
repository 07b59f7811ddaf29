"""What a judge asks of a language model, and what it hears: one value each, whatever answers behind them.

A `Request` is a conversation and the options of which one is to be chosen; a `Reply` says how probable the model finds
each. Every form of judging (a level, the better of two, the best of many) is a choice; without options a text is
written. A `Backend` answers requests and knows nothing of judging.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from rlaif_core import Abstain, Failed, FeedbackError

SUM = 1e-4
"""How far the probabilities of the options may be from summing to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation; `role` is "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A conversation, and the labels of which one is to be chosen ("A", "B"; "1" to "5"). No labels: write a text.

    The conversation says what each label stands for; how the choice is to be written down is added by whoever reads it.
    `seed` tells requests apart that are otherwise the same: votes.
    """

    messages: tuple[Message, ...]
    options: tuple[str, ...] = ()
    max_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        labels = [option.strip() for option in self.options]
        if len(set(labels)) < len(labels) or not all(labels):
            raise FeedbackError(f"the options {self.options} of a request are blank or alike; give labels that differ")

    def key(self, identity: Mapping[str, Any]) -> str:
        """Hexadecimal SHA-256 of all that the reply depends on: this request, and the identity of who answers it."""
        own = {name: getattr(self, name) for name in self.__slots__}  # dataclasses.asdict takes ten times as long
        own["messages"] = [[message.role, message.content] for message in self.messages]
        own["temperature"] = self.temperature + 0.0  # 0, 0.0 and -0.0 are equal, and so are the requests
        said = json.dumps([own, dict(identity)], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model said: its raw text, and the probability of each option (summing to 1; none where none was asked).

    `mass` is the probability that the options had together among all that the model might have said. `cut`: the text
    ends because there was no room for more. Tokens were read and written, `cost` is in money (or whatever the prices
    are in), `seconds` of the wall clock.
    """

    text: str
    probabilities: tuple[float, ...] = ()
    mass: float = 1.0
    cut: bool = False
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        numbers = (*self.probabilities, self.mass, self.cost, self.seconds)
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise FeedbackError(f"a reply holds a number that is negative or not finite: {numbers}")
        if self.probabilities and abs(sum(self.probabilities) - 1) > SUM:
            raise FeedbackError(f"the probabilities of a reply sum to {sum(self.probabilities):g}, but must to 1")


def alone(options: Sequence[str]) -> str:
    """How to tell a model that a label is all it should say.

    >>> alone(("A", "B", "C"))
    'Answer with A, B or C alone.'
    """
    *others, last = options
    return f"Answer with {', '.join(others)} or {last} alone." if others else f"Answer with {last} alone."


class Backend(Protocol):
    """Who answers requests: a server, a model in this process, the policy itself."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Whatever besides a request its replies depend on, as JSON: a cache goes by it. No secrets."""
        ...

    def answer(self, requests: Iterable[tuple[int, Request]]) -> Iterator[tuple[int, Reply | Failed]]:
        """Each request's reply under the request's number, in the order in which they come.

        Requests are taken from the iterable as there is room for them, by the thread that iterates over the replies,
        and no more are under way at a time than the backend's own limit; so whoever hands them over can stop at any
        moment, and whoever takes the replies can keep each before the next is paid for. What is wrong with one request
        is `Failed`; what is wrong with all (a refused key, an unknown model) raises.
        """
        ...


@runtime_checkable
class Finding(Protocol):
    """A backend that finds out, once and by asking, how it is to ask; what it found may be kept and given back."""

    found: str
    """What was found out; "" as long as nothing was."""

    @property
    def subject(self) -> str:
        """What that is about, without secrets; "" where there is nothing to find out."""
        ...


class Answering(Protocol):
    """Who takes requests in and hands replies back, in order: a backend by itself, or with a cache and a budget."""

    def answer(self, requests: Sequence[Request]) -> list[Reply | Abstain | Failed]:
        """A reply to each request, `Failed` where there was none, `Abstain` where none was to be paid for."""
        ...


class Straight(Answering):
    """A backend by itself: every request is asked, every time."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def answer(self, requests: Sequence[Request]) -> list[Reply | Abstain | Failed]:
        replies = dict(self.backend.answer(iter(enumerate(requests))))
        return [replies[number] for number in range(len(requests))]
