from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import ConfigError, FeedbackError
from rlaif_judges.backends.faults import (
    QUOTED,
    Fault,
    Unanswered,
    Unsupported,
    asked_to_wait,
    fault_of,
    message_of,
    quoted,
)


def meant(status: int, body: Any = None, **headers: str) -> Exception:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return fault_of(status, headers, body, where="http://judge/v1/chat/completions", model="m-7b", key="JUDGE_KEY")


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 529, 599])
def test_what_may_pass_is_a_fault(status: int) -> None:
    fault = meant(status, {"error": {"message": "busy"}}, retry_after="7")
    assert isinstance(fault, Fault)
    assert fault.wait == 7
    assert fault.server == (status in (429, 502, 503, 504, 520, 529))
    assert f"answered {status}: busy" in fault.reason


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_says_which_to_export(status: int) -> None:
    error = meant(status, {"error": {"message": "bad key"}})
    assert type(error) is ConfigError
    assert "bad key" in str(error)
    assert "export a key that is valid there as JUDGE_KEY" in str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"error": {"code": "model_not_found", "message": "no"}}),
        (404, {"error": {"message": "The model `m-7b` does not exist"}}),
        (400, {"error": {"param": "model", "message": "no"}}),
        (400, {"detail": "Server is pinned to 'x'; requested 'm-7b'."}),
        (422, {"message": 'unknown model "m-7b"'}),
    ],
)
def test_an_unknown_model_is_a_mistake_of_the_config(status: int, body: Any) -> None:
    error = meant(status, body)
    assert type(error) is ConfigError
    assert "set model to one that the server has" in str(error)


@pytest.mark.parametrize("status", [404, 405, 410, 501])
def test_nothing_there_is_a_mistake_of_the_config(status: int) -> None:
    error = meant(status, {"detail": "Not Found"})
    assert isinstance(error, Unsupported)
    assert "set base_url to the address before /chat/completions" in str(error)


@pytest.mark.parametrize("field", ["temperature", "logprobs", "response_format.type"])
def test_a_field_that_is_refused_is_refused_to_all(field: str) -> None:
    assert isinstance(meant(400, {"error": {"message": "unsupported", "param": field}}), Unsupported)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "too long", "code": "context_length_exceeded", "param": "messages"}},
        {"error": {"message": "bad", "param": "messages[0].content"}},
        {"error": {"message": "This model's maximum context length is 8192 tokens"}},
        {"error": {"message": "inappropriate", "param": None}},
        "nonsense",
        None,
        [],
    ],
)
def test_what_is_wrong_with_one_request_is_its_own_matter(body: Any) -> None:
    for status in (400, 413, 422):
        assert isinstance(meant(status, body), Unanswered)


def test_an_empty_account_is_nothing_to_wait_for() -> None:
    for error in (meant(402), meant(429, {"error": {"code": "insufficient_quota", "message": "none left"}})):
        assert isinstance(error, FeedbackError)
        assert "no credit left: top it up" in str(error)


def test_who_sends_elsewhere_is_not_followed() -> None:
    assert "set base_url to where the server is" in str(meant(307))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), (" 1.5 ", 1.5), ("0", 0), ("-3", 0), ("nan", 0), ("soon", 0), ("", 0), ("1e400", float("inf"))],
)
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    assert asked_to_wait({"retry-after": value}) == seconds


def test_retry_after_as_a_date() -> None:
    now = 1_800_000_000.25
    assert asked_to_wait({"retry-after": formatdate(now + 30, usegmt=True)}, now) == pytest.approx(30, abs=1)
    assert asked_to_wait({"retry-after": formatdate(now - 30, usegmt=True)}, now) == 0
    assert asked_to_wait({}, now) == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no"}}, "no"),
        ({"error": "no"}, "no"),
        ({"detail": [{"msg": "field required", "loc": ["body"]}]}, "field required"),
        ({"message": "no"}, "no"),
        ("<html>", "<html>"),
        ({}, "{}"),
        (None, "None"),
    ],
)
def test_the_message_is_found_however_it_is_put(body: Any, message: str) -> None:
    assert message_of(body) == message


def test_a_message_without_a_bottom_is_left_alone() -> None:
    body: Any = "deep"
    for _ in range(100):
        body = {"error": body}
    assert len(message_of(body)) <= QUOTED + 3


@given(st.text())
def test_what_is_quoted_is_short_and_steers_nothing(text: str) -> None:
    short = quoted(text)
    assert "\n" not in short
    assert "\x1b" not in short
    assert short.encode() is not None  # no lone surrogate
    assert len(short) <= 10 * (QUOTED + 3)
