"""The shapes of what servers answer, as far as it is read; anything else in a reply is nobody's business."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rlaif_judges.backends.faults import Fault, message_of, quoted

S = TypeVar("S", bound="Shape")
MOST = 10**12
"""More tokens than this no request has: whatever says so counts nothing."""


class Part(BaseModel):
    """Strict: a number is no text that looks like one."""

    model_config = ConfigDict(strict=True)


class Shape(Part):
    """A reply as a whole."""

    usage: Any = None
    error: Any = None

    def tokens(self) -> tuple[int, int]:
        """Tokens read and written, as far as the server says."""
        told = self.usage if isinstance(self.usage, dict) else {}
        read, written = (
            next((told[name] for name in names if name in told), 0)
            for names in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens"))
        )
        return _count(read), _count(written)


class Message(Part):
    """What the model said, or why it would not."""

    content: str | None = None
    refusal: str | None = None


class Choice(Part):
    """One answer, and why it ended."""

    message: Message
    finish_reason: str | None = None


class Completion(Shape):
    """A reply of /chat/completions."""

    choices: Annotated[list[Choice], Field(min_length=1)]


class Alternative(Part):
    """A token, and the natural logarithm of its probability."""

    token: str
    logprob: float


class Position(Alternative):
    """The token that was written somewhere, and what might have been."""

    top_logprobs: list[Alternative] = []


class Logprobs(Part):
    """One position a token of the answer."""

    content: list[Position] | None = None


class ScoredChoice(Choice):
    """An answer with log-probabilities, where the server gave any."""

    logprobs: Logprobs | None = None


class ScoredCompletion(Shape):
    """The same with log-probabilities."""

    choices: Annotated[list[ScoredChoice], Field(min_length=1)]


class Answer(Part):
    """The choice, and how probable each is."""

    choice: str
    probabilities: dict[str, float]


class Decision(Shape):
    """A reply of /systemone to the one question that was asked."""

    answers: dict[str, Answer]


def parsed(shape: type[S], body: bytes) -> S:
    """A reply in its shape; `Fault` where it is no JSON, or JSON of another shape."""
    try:
        reply = shape.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        what, where = quoted(first["msg"]), ".".join(map(str, first["loc"]))
        start = quoted(body[:400].decode(errors="replace"))
        raise Fault(
            f"the server's reply cannot be read: {what}{where and f' at {where}'}; it begins {start!r}"
        ) from None
    if reply.error:
        raise Fault(f"the server reports an error: {message_of(reply.error)}")
    return reply


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= MOST else 0
