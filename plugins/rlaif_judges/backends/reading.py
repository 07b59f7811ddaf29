"""How a choice is asked for and read, and how a text is: a body to send, and what its reply says.

Four ways give a choice. Two hear how probable the model finds each option; two hear one option, which counts as
probability 1. None looks for a choice in prose: what is not exactly what was asked for is no answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rlaif_judges.asking import Message, Request
from rlaif_judges.backends.faults import Lacking, Otherwise, Unanswered, quoted
from rlaif_judges.backends.shapes import Alternative, Choice, Completion, Decision, ScoredCompletion, Shape

CHAT, SYSTEMONE = "/chat/completions", "/systemone"
TOP = 20
"""Alternatives asked for, the most that OpenAI lists."""
BLANKS = " \t\r\n▁ĠĊ"
"""What may stand around a label in a token: blanks, and the signs by which vocabularies write them."""
SLACK = 1e-2
"""How far probabilities may be from what they should be and still be called rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one reply says, before it is known what it cost. `cut`: the text ends where the tokens did."""

    text: str
    probabilities: tuple[float, ...] = ()
    mass: float = 1.0
    cut: bool = False


class Reading(Protocol):
    """One way to ask and to read.

    path: where the body goes; shape: what comes back; open: whether further fields may stand in the body.
    """

    @property
    def path(self) -> str: ...

    @property
    def shape(self) -> type[Shape]: ...

    @property
    def open(self) -> bool: ...

    def body(self, request: Request) -> dict[str, Any]: ...

    def heard(self, request: Request, reply: Any) -> Heard:
        """What the reply says. `Otherwise` where it says something else than was asked, `Lacking` where the server left
        out what must be there, `Unanswered` where there is nothing to read."""
        ...


class Text:
    """A text of at most max_tokens."""

    path, shape, open = CHAT, Completion, True

    def body(self, request: Request) -> dict[str, Any]:
        return _chat(request.messages, request, request.max_tokens)

    def heard(self, request: Request, reply: Any) -> Heard:
        choice = reply.choices[0]
        return Heard(text=said(choice), cut=choice.finish_reason == "length")


@dataclass(frozen=True, slots=True)
class ByLogprobs:
    """The probabilities of the first token.

    Tokens are options once what stands around them is stripped; the probabilities of several spellings are summed. An
    option that is not listed is less probable than any that is, and than what the listed leave over; it is given the
    smaller of the two (shared with the others of its kind), which errs towards indecision. `mass` is of the listed.
    """

    mass: float
    path, shape, open = CHAT, ScoredCompletion, True

    def body(self, request: Request) -> dict[str, Any]:
        sentence = f"Answer with one of {_listed(request.options)}, and with nothing else."
        return _chat(_with(request.messages, sentence), request, 1) | {"logprobs": True, "top_logprobs": TOP}

    def heard(self, request: Request, reply: Any) -> Heard:
        choice = reply.choices[0]
        text = said(choice, or_nothing=True)
        positions = choice.logprobs.content if choice.logprobs else None
        if not positions or not positions[0].top_logprobs:
            raise Lacking("the server gave no log-probabilities; set read to another way")
        listed = [(top.token.strip(BLANKS), _probability(top)) for top in positions[0].top_logprobs]
        found, mass = weighed(request.options, listed)
        if mass < self.mass or not mass:
            raise Otherwise(
                f"the judge answered something else: {quoted(text or positions[0].token)!r}; "
                f"its options had {mass:.2g} of the probability together, less than {self.mass:g}"
            )
        return Heard(text=text, probabilities=found, mass=min(mass, 1.0))


class ByDecision:
    """The probabilities that /systemone of `transformers serve` gives, which asks in words of its own."""

    path, shape, open = SYSTEMONE, Decision, False

    def body(self, request: Request) -> dict[str, Any]:
        turns = [clean(message.content) for message in request.messages]
        spoken = any(message.role == "assistant" for message in request.messages)
        state: Any = "\n\n".join(turns)
        if spoken:  # who said what would be lost
            state = [{"role": m.role, "content": turn} for m, turn in zip(request.messages, turns, strict=True)]
        question = {"type": "choice", "instructions": "Choose one.", "criteria": dict.fromkeys(request.options)}
        return {"state": state, "questions": {"choice": question}}

    def heard(self, request: Request, reply: Any) -> Heard:
        answer = reply.answers.get("choice")
        if answer is None or set(answer.probabilities) != set(request.options):
            raise Lacking("the server gave no probability for each option; set read to another way")
        found = [answer.probabilities[option] for option in request.options]
        if not all(0 <= p <= 1 + SLACK for p in found) or abs(sum(found) - 1) > SLACK:  # also where one is nan
            raise Unanswered(f"the server gave probabilities that are none: {found}")
        return Heard(text=answer.choice, probabilities=_summing(found))


class ByJson:
    """A text that must be exactly one JSON object with the choice. `plain`: nothing but the model sees to that."""

    path, shape, open, plain = CHAT, Completion, True, True

    def body(self, request: Request) -> dict[str, Any]:
        sentence = (
            f'Answer with exactly {{"choice": {json.dumps(request.options[0])}}} and with nothing else, '
            f"where the choice is one of {_listed(request.options)}."
        )
        return _chat(_with(request.messages, sentence), request, request.max_tokens)

    def heard(self, request: Request, reply: Any) -> Heard:
        text = said(reply.choices[0])
        chosen = _chosen(text)
        if chosen not in request.options:
            cut = ", cut off by max_tokens" if reply.choices[0].finish_reason == "length" else ""
            kind = Otherwise if cut or self.plain else Lacking
            raise kind(f"the judge answered something else{cut}: {quoted(text)!r}")
        found = tuple(float(option == chosen) for option in request.options)
        return Heard(text=text, probabilities=found)


class BySchema(ByJson):
    """The same, where the server sees to it that the model writes nothing else (structured output)."""

    plain = False

    def body(self, request: Request) -> dict[str, Any]:
        schema = {
            "type": "object",
            "properties": {"choice": {"type": "string", "enum": list(request.options)}},
            "required": ["choice"],
            "additionalProperties": False,
        }
        named = {"name": "choice", "strict": True, "schema": schema}
        return super().body(request) | {"response_format": {"type": "json_schema", "json_schema": named}}


def readings(mass: float) -> dict[str, Reading]:
    """Every way to read a choice by its name, in the order in which they are tried: probabilities say more."""
    return {"logprobs": ByLogprobs(mass), "decision": ByDecision(), "schema": BySchema(), "json": ByJson()}


def weighed(options: Sequence[str], listed: Sequence[tuple[str, float]]) -> tuple[tuple[float, ...], float]:
    """Probability of each option, summing to 1, and of all the listed together, from (token, probability) pairs.

    `Unanswered` where they are no probabilities or cannot tell the options apart.
    """
    given = sum(probability for _, probability in listed)
    if given > 1 + SLACK:
        raise Unanswered(f"the server gave log-probabilities whose probabilities sum to {given:.3g}")
    found = {option: sum(p for token, p in listed if token == option) for option in options}
    missing = [option for option in options if all(token != option for token, _ in listed)]
    for option in missing:
        if begun := next((token for token, _ in listed if token and option.startswith(token)), ""):
            raise Unanswered(f"the model may write {option!r} as {begun!r} and more; use options of one token each")
    if missing and len(listed) < len(options):
        raise Unanswered(f"the server lists {len(listed)} alternatives, too few to tell {len(options)} options apart")
    mass = sum(found.values())
    if missing and mass:
        bound = min(min(p for _, p in listed), max(1 - given, 0.0) / len(missing))
        found |= dict.fromkeys(missing, bound)
    return (_summing([found[option] for option in options]) if mass else ()), mass


def said(choice: Choice, *, or_nothing: bool = False) -> str:
    """The text of a reply; `Unanswered` where the model refused, a filter held it back, or there is none."""
    if choice.message.refusal:
        raise Unanswered(f"the judge refused: {quoted(choice.message.refusal)}")
    if choice.finish_reason == "content_filter":
        raise Unanswered("a content filter of the server held the answer back")
    if choice.message.content is None and not or_nothing:
        raise Unanswered(f"the judge wrote no text (finish reason: {quoted(choice.finish_reason or 'none')})")
    return choice.message.content or ""


def clean(text: str) -> str:
    """`text` as UTF-8 can hold it: lone surrogates become question marks."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _chat(messages: Sequence[Message], request: Request, tokens: int) -> dict[str, Any]:
    body = {
        "messages": [{"role": message.role, "content": clean(message.content)} for message in messages],
        "max_tokens": tokens,
        "temperature": request.temperature,
    }
    return body | ({"seed": request.seed} if request.temperature else {})  # some servers know no seed


def _with(messages: Sequence[Message], sentence: str) -> list[Message]:
    """The conversation, with a sentence at the end of what the user said last."""
    told = list(messages)
    for place in reversed(range(len(told))):
        if told[place].role == "user":
            told[place] = Message(role="user", content=f"{told[place].content}\n\n{sentence}")
            return told
    return [*told, Message(role="user", content=sentence)]


def _listed(options: Sequence[str]) -> str:
    return ", ".join(options)


def _probability(top: Alternative) -> float:
    if math.isnan(top.logprob) or top.logprob > SLACK:
        raise Unanswered(f"the server gave the log-probability {top.logprob} for {quoted(top.token)!r}, which is none")
    return min(math.exp(top.logprob), 1.0)


def _summing(probabilities: Sequence[float]) -> tuple[float, ...]:
    total = sum(probabilities)
    return tuple(probability / total for probability in probabilities)


def _chosen(text: str) -> str | None:
    """The choice, where the whole text is one JSON object that holds it and nothing else."""

    def single(pairs: list[tuple[str, Any]]) -> Any:
        return dict(pairs) if len(pairs) == 1 else None

    try:
        told = json.loads(text, object_pairs_hook=single)
    except (ValueError, RecursionError):
        return None
    chosen = told.get("choice") if isinstance(told, Mapping) else None
    return chosen if isinstance(chosen, str) else None
