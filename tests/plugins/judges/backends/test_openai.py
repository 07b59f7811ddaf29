from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import faulty_server as fs
from faulty_server import FaultyServer
from requesting import GOOD, WRITE, YES, only, reply
from rlaif_core import FeedbackError
from rlaif_judges.asking import Message, Reply, Request
from rlaif_judges.backends.openai import OpenAI
from rlaif_judges.backends.patience import Clock
from rlaif_judges.backends.server import Server

# ---- good days ------------------------------------------------------------------------------------------------------


def test_a_choice_is_read_and_paid_for(asked: Any) -> None:
    with FaultyServer([GOOD]) as server:
        heard = reply(asked(server, price_in=2.0, price_out=10.0))
    assert heard.probabilities == pytest.approx((0.75, 0.25))
    assert heard.mass == pytest.approx(0.8)
    assert (heard.tokens_in, heard.tokens_out) == (50, 2)
    assert heard.cost == pytest.approx((50 * 2 + 2 * 10) / 1e6)
    assert 0 < heard.seconds < 5


def test_a_text_says_whether_it_was_cut_off(asked: Any) -> None:
    with FaultyServer([YES, fs.chat("yes and", "length")]) as server:
        backend = asked(server)
        assert (reply(backend, WRITE).text, reply(backend, WRITE).cut) == ("yes", True)
        assert server.seen[0].body["max_tokens"] == 9


def test_further_fields_go_into_the_body(asked: Any) -> None:
    with FaultyServer([GOOD]) as server:
        reply(asked(server, options={"top_p": 0.5, "top_logprobs": 5}))
        body = server.seen[0].body
    assert (body["model"], body["top_p"], body["top_logprobs"]) == ("m-7b", 0.5, 5)


def test_every_request_gets_its_own_reply(asked: Any) -> None:
    def script(seen: fs.Seen) -> fs.Answer:
        return fs.slow(0.01 * (seen.number % 3), fs.chat(seen.body["messages"][0]["content"]))

    requests = [(n, Request(messages=(Message(role="user", content=f"say {n}"),))) for n in range(60)]
    with FaultyServer(script) as server:
        said = dict(asked(server).answer(requests))
    assert {number: each.text for number, each in said.items()} == {n: f"say {n}" for n in range(60)}


def test_no_more_are_under_way_than_allowed_even_from_several_threads(asked: Any) -> None:
    with FaultyServer([fs.slow(0.02, YES)]) as server:
        backend = asked(server, concurrency=4)
        threads = [threading.Thread(target=lambda: list(backend.answer(enumerate([WRITE] * 12)))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.seen) == 36
        assert server.most == 4


def test_waiting_for_room_is_not_waiting_for_the_server(asked: Any) -> None:
    with FaultyServer([fs.slow(0.5, YES)]) as server:
        backend = asked(server, concurrency=1, timeout=1.3, retries=0)
        said: list[Any] = []
        threads = [threading.Thread(target=lambda: said.append(only(backend, WRITE))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [type(each) for each in said] == [Reply] * 4


def test_requests_are_taken_by_the_thread_that_iterates_and_only_when_there_is_room(asked: Any) -> None:
    taken: list[int] = []

    def source() -> Iterator[tuple[int, Request]]:
        for number in range(10):
            assert threading.current_thread() is threading.main_thread()
            taken.append(number)
            yield number, WRITE

    with FaultyServer([YES]) as server:
        replies = asked(server, concurrency=3).answer(source())
        assert taken == []
        for kept in range(10):
            next(replies)
            assert len(taken) <= kept + 3
        assert list(replies) == []


def test_what_the_source_raises_is_raised(asked: Any) -> None:
    def source() -> Iterator[tuple[int, Request]]:
        yield 0, WRITE
        raise KeyError("the file ended")

    with FaultyServer([YES]) as server, pytest.raises(KeyError, match="the file ended"):
        list(asked(server).answer(source()))


def test_nothing_asked_is_nothing_sent(asked: Any) -> None:
    with FaultyServer([YES]) as server:
        assert list(asked(server).answer([])) == []
        assert server.seen == []


def test_connections_are_kept_between_calls(asked: Any) -> None:
    ports = set()

    def script(seen: fs.Seen) -> fs.Answer:
        async def send(writer: Any) -> None:
            ports.add(writer.get_extra_info("peername"))
            await YES(writer)

        return send

    with FaultyServer(script) as server:
        backend = asked(server, concurrency=2)
        for _ in range(5):
            list(backend.answer(enumerate([WRITE] * 4)))
    assert len(ports) <= 2


def test_whatever_a_text_holds_can_be_asked(asked: Any) -> None:
    hostile = "\ud800 \x00\x1b[31m \u202e \u200b nan " + "x" * 1_000_000
    with FaultyServer([YES]) as server:
        reply(asked(server), Request(messages=(Message(role="user", content=hostile),)))
        assert server.seen[0].body["messages"][0]["content"] == hostile.replace("\ud800", "?")


# ---- coming and going -----------------------------------------------------------------------------------------------


def test_whoever_stops_iterating_cancels_what_is_under_way(asked: Any) -> None:
    with FaultyServer(lambda seen: YES if seen.number == 0 else fs.slow(60, YES)) as server:
        backend = asked(server, concurrency=8, timeout=60)
        replies = backend.answer(enumerate([WRITE] * 100))
        next(replies)
        replies.close()
        deadline = time.monotonic() + 2
        while server.cancelled < len(server.seen) - 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert len(server.seen) <= 9


def test_an_interrupt_while_a_request_is_handed_over_holds_up_no_later_one(asked: Any) -> None:
    with FaultyServer([YES]) as server:
        backend = asked(server)
        reply(backend, WRITE)
        backend._engine()._awake = True  # as if Ctrl-C had come before the loop was told
        assert reply(backend, WRITE).text == "yes"


def test_close_ends_whoever_waits_and_the_next_is_connected_anew(asked: Any) -> None:
    with FaultyServer(lambda seen: fs.slow(60, YES) if seen.number == 0 else YES) as server:
        backend = asked(server, timeout=60)
        threading.Timer(0.2, backend.close).start()
        with pytest.raises(FeedbackError, match="closed"):
            only(backend, WRITE)
        assert reply(backend, WRITE).text == "yes"


def test_a_thread_that_died_is_noticed(asked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed at the one moment at which a request is handed over and nobody looks any more."""
    monkeypatch.setattr("rlaif_judges.backends.engine.ALIVE", 0.05)
    with FaultyServer([YES]) as server:
        backend = asked(server)
        reply(backend, WRITE)
        engine = backend._engine()
        engine.stop()
        with pytest.raises(FeedbackError, match="closed"):
            only(backend, WRITE)
        backend.close()
        assert reply(backend, WRITE).text == "yes"


def test_a_backend_that_nobody_holds_leaves_no_thread(hasty: Clock) -> None:
    def judges() -> set[str]:
        return {thread.name for thread in threading.enumerate() if thread.name == "rlaif-judge"}

    with FaultyServer([YES]) as server:
        backend = OpenAI(Server(model="m", base_url=server.url), clock=hasty)
        reply(backend, WRITE)
        assert judges()
        del backend
        gc.collect()
        assert not judges()


def run_script(code: str, url: str) -> subprocess.Popen[str]:
    lines = [
        "import os, signal, sys, time",
        "from rlaif_judges.asking import Message, Request",
        "from rlaif_judges.backends.openai import OpenAI",
        "from rlaif_judges.backends.server import Server",
        f"backend = OpenAI(Server(model='m', base_url={url!r}, timeout=60, patience=60))",
        "ask = lambda: next(backend.answer([(0, Request(messages=(Message(role='user', content='?'),)))]))[1].text",
    ]
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", "\n".join(lines) + "\n" + code]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_after_a_fork_both_go_on() -> None:
    code = """
print(ask())
child = os.fork()
print("child" if child == 0 else "parent", ask())
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("parent", ask())
"""
    with FaultyServer([YES]) as server:
        said, complaints = run_script(code, server.url).communicate(timeout=60)
    assert sorted(said.split("\n")) == ["", "child yes", "parent yes", "parent yes", "yes"]
    assert complaints == ""


def test_ctrl_c_ends_the_wait_at_once() -> None:
    code = "print('go')\ntry:\n    ask()\nexcept KeyboardInterrupt:\n    print('stopped')\n"
    with FaultyServer([fs.slow(60, YES)]) as server:
        process = run_script(code, server.url)
        assert process.stdout is not None
        assert process.stdout.readline() == "go\n"
        deadline = time.monotonic() + 20
        while not server.seen and time.monotonic() < deadline:
            time.sleep(0.01)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said, complaints = process.communicate(timeout=20)
        assert (said, complaints, process.returncode) == ("stopped\n", "", 0)
        assert time.monotonic() - began < 5
