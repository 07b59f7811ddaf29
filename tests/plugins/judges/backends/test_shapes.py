from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_judges.backends.faults import Fault
from rlaif_judges.backends.shapes import Completion, Decision, ScoredCompletion, parsed

GOOD: dict[str, Any] = {"choices": [{"message": {"content": "A"}, "finish_reason": "stop"}]}


def test_tokens_are_what_the_server_says_under_either_name() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    assert parsed(Completion, json.dumps(GOOD | {"usage": usage}).encode()).tokens() == (3, 4)
    body = {"answers": {}, "usage": {"input_tokens": 5, "output_tokens": 0}}
    assert parsed(Decision, json.dumps(body).encode()).tokens() == (5, 0)


@pytest.mark.parametrize(
    "usage", [None, 3, "many", [], {}, {"prompt_tokens": -1}, {"prompt_tokens": 10**30}, {"prompt_tokens": True}]
)
def test_usage_that_is_none_counts_nothing(usage: Any) -> None:
    assert parsed(Completion, json.dumps(GOOD | {"usage": usage}).encode()).tokens() == (0, 0)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "it begins ''"),
        (b"<html>502</html>", "it begins '<html>"),
        (b'{"choices": [{"message": {"cont', "EOF"),
        (b"[]", "object"),
        (b"null", "object"),
        (b'{"choices": []}', "at choices"),
        (b'{"choices": null}', "at choices"),
        (b'{"choices": [{"text": "A"}]}', "at choices.0.message"),
        (b'{"choices": [{"message": {"content": ["A"]}}]}', "at choices.0.message.content"),
        (b'{"choices": [{"message": {"content": "\xff\xfe"}}]}', "cannot be read"),
        (b"[" * 100_000, "recursion"),
        (b'{"choices": [{"message": {"content": "A"}}], "error": {"message": "overloaded"}}', "an error: overloaded"),
    ],
)
def test_what_is_no_reply_says_why_and_how_it_begins(body: bytes, complaint: str) -> None:
    with pytest.raises(Fault, match=complaint):
        parsed(Completion, body)


@pytest.mark.parametrize("logprob", ['"-0.1"', "null", "true", "[]"])
def test_a_log_probability_that_is_no_number_makes_no_reply(logprob: str) -> None:
    top = f'[{{"token": "A", "logprob": {logprob}}}]'
    position = f'{{"token": "A", "logprob": -0.1, "top_logprobs": {top}}}'
    body = f'{{"choices": [{{"message": {{"content": "A"}}, "logprobs": {{"content": [{position}]}}}}]}}'
    with pytest.raises(Fault, match="logprob"):
        parsed(ScoredCompletion, body.encode())


@given(
    st.binary(max_size=60) | st.recursive(st.none() | st.floats() | st.text(), lambda inner: st.lists(inner)).map(str)
)
def test_no_bytes_raise_anything_else(body: bytes | str) -> None:
    for shape in (Completion, ScoredCompletion, Decision):
        with pytest.raises(Fault):
            parsed(shape, body.encode(errors="replace") if isinstance(body, str) else body)
