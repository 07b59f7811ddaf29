"""Requests to ask a server, and what became of them."""

from __future__ import annotations

import faulty_server as fs
from rlaif_core import Failed
from rlaif_judges.asking import Message, Reply, Request
from rlaif_judges.backends.openai import OpenAI

SAID = (Message(role="user", content="Which?"),)
PICK = Request(messages=SAID, options=("A", "B"))
WRITE = Request(messages=SAID, max_tokens=9)
GOOD = fs.scored({"A": 0.6, "B": 0.2})
YES = fs.chat("yes")


def only(backend: OpenAI, request: Request = PICK) -> Reply | Failed:
    ((number, outcome),) = backend.answer([(7, request)])
    assert number == 7
    return outcome


def reply(backend: OpenAI, request: Request = PICK) -> Reply:
    outcome = only(backend, request)
    assert isinstance(outcome, Reply), outcome
    return outcome


def failed(backend: OpenAI, request: Request = PICK) -> str:
    outcome = only(backend, request)
    assert isinstance(outcome, Failed), outcome
    return outcome.reason
