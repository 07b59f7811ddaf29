from __future__ import annotations

import time
from typing import Any

import pytest

import faulty_server as fs
from faulty_server import FaultyServer
from requesting import GOOD, PICK, SAID, WRITE, YES, failed, only, reply
from rlaif_core import ConfigError, Failed, FeedbackError
from rlaif_judges.asking import Reply, Request
from rlaif_judges.backends.patience import Clock

# ---- how a choice is read -------------------------------------------------------------------------------------------


def kind(body: dict[str, Any], path: str) -> str:
    if path.endswith("systemone"):
        return "decision"
    return "logprobs" if "logprobs" in body else "schema" if "response_format" in body else "json"


REFUSALS = {
    "400": fs.error(400, "not supported", param="logprobs"),
    "422": fs.reply({"detail": "Unexpected fields"}, 422),
    "404": fs.reply({"detail": "Not Found"}, 404),
    "left out": fs.chat("Well, I think A."),
    "500": fs.error(500, "KeyError"),
}
DOES = {
    "logprobs": GOOD,
    "decision": fs.decided({"A": 0.7, "B": 0.3}),
    "schema": fs.chat('{"choice": "A"}'),
    "json": fs.chat('{"choice": "A"}'),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("able", DOES)
def test_auto_finds_the_first_way_that_the_server_is_able_to(asked: Any, able: str, refusal: fs.Answer) -> None:
    order = list(DOES)

    def script(seen: fs.Seen) -> fs.Answer:
        way = kind(seen.body, seen.path)
        return DOES[way] if order.index(way) >= order.index(able) else refusal

    with FaultyServer(script) as server:
        backend = asked(server, read="auto", retries=0)
        said = list(backend.answer(enumerate([PICK] * 5)))
        assert all(isinstance(each, Reply) and each.probabilities[0] > 0.5 for _, each in said)
        assert backend.identity["read"] == able
        ways = [kind(seen.body, seen.path) for seen in server.seen]
        assert ways == [*order[: order.index(able) + 1], *[able] * 5]  # found out once, by one question of its own


def test_identity_finds_out_before_anything_is_asked(asked: Any) -> None:
    with FaultyServer([GOOD]) as server:
        backend = asked(server, read="auto", options={"top_p": 0.5})
        assert dict(backend.identity) == {
            "backend": "openai",
            "url": server.url,
            "model": "m-7b",
            "read": "logprobs",
            "mass": 0.1,
            "options": {"top_p": 0.5},
        }
        assert len(server.seen) == 1
        reply(backend)
        assert len(server.seen) == 2


def test_a_model_that_answers_prose_in_every_way_is_read_by_what_the_server_gives(asked: Any) -> None:
    with FaultyServer([fs.scored({"The": 0.9, "I": 0.05}, "The")]) as server:
        assert asked(server, read="auto").read == "logprobs"


def test_texts_need_no_way_to_read_choices(asked: Any) -> None:
    with FaultyServer([YES]) as server:
        reply(asked(server, read="auto"), WRITE)
        assert len(server.seen) == 1


def test_auto_with_a_wrong_key_raises_at_once(asked: Any) -> None:
    with FaultyServer([fs.error(401)]) as server:
        backend = asked(server, read="auto")
        with pytest.raises(ConfigError, match="JUDGE_KEY"):
            list(backend.answer([(0, PICK)]))
        with pytest.raises(ConfigError, match="JUDGE_KEY"):
            _ = backend.identity
        assert len(server.seen) == 2


def test_auto_while_the_server_is_down_fails_the_requests_and_finds_out_later(asked: Any) -> None:
    down = [True]
    with FaultyServer(lambda _: fs.error(503) if down[0] else GOOD) as server:
        backend = asked(server, read="auto", patience=0.1, clock=Clock(random=lambda: 0.01))
        assert "has been down" in failed(backend)
        with pytest.raises(FeedbackError, match="does not say how it lets a choice be read"):
            _ = backend.identity
        down[0] = False
        deadline = time.monotonic() + 10
        while isinstance(only(backend), Failed):  # until the next try is due
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert backend.identity["read"] == "logprobs"


def test_a_limit_that_goes_by_another_name_is_given_under_it(asked: Any) -> None:
    refusal = fs.error(400, "'max_tokens' is not supported. Use 'max_completion_tokens' instead.", param="max_tokens")
    with FaultyServer(lambda seen: refusal if "max_tokens" in seen.body else YES) as server:
        backend = asked(server)
        for _ in range(2):
            reply(backend, WRITE)
        assert [seen.body.get("max_completion_tokens") for seen in server.seen] == [None, 9, 9]


# ---- limits ---------------------------------------------------------------------------------------------------------


def test_no_more_requests_a_minute_than_allowed(asked: Any) -> None:
    with FaultyServer([YES]) as server:
        backend = asked(server, requests_per_minute=600, clock=Clock())
        list(backend.answer(enumerate([WRITE] * 56)))  # 50 are saved up, the others come at 9.18 a second
        assert server.seen[-1].at - server.seen[0].at > 0.5


def test_tokens_are_corrected_by_what_the_server_counts(asked: Any) -> None:
    """The bucket holds 1000; each request is expected to have 301 and has 52."""
    with FaultyServer([YES]) as server:
        backend = asked(server, tokens_per_minute=12_000, concurrency=1, clock=Clock())
        began = time.monotonic()
        list(backend.answer(enumerate([Request(messages=SAID, max_tokens=300)] * 10)))
        assert time.monotonic() - began < 2
