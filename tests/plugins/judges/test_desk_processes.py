"""One cache and many processes: who pays, what a kill -9 leaves behind, and whose budget it is."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import scripted_backend
from rlaif_judges.economy.ledger import ledger, totals
from scripted_backend import TOKENS, reply, request


class Office:
    """A cache, a log of all calls, and the processes at work on them."""

    def __init__(self, folder: Path) -> None:
        self.cache, self.log, self.go = folder / "judges.sqlite", folder / "calls.txt", folder / "go"
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, count: int, **options: Any) -> subprocess.Popen[str]:
        """A process that begins once `go` is there."""
        given = {"cache": str(self.cache), "log": str(self.log), "go": str(self.go), "count": count, **options}
        command = [sys.executable, "-W", "error", scripted_backend.__file__, json.dumps(given)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    def together(self) -> None:
        """Let all begin at once."""
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        self.go.touch()

    def said(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, out
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        return told

    def calls(self) -> list[str]:
        """What was asked, by whomever."""
        return [line.partition(" ")[2] for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def wait_for_calls(self, count: int) -> None:
        end = time.monotonic() + 60
        while len(self.calls()) < count:
            assert time.monotonic() < end
            time.sleep(0.005)

    def whole(self) -> bool:
        connection = sqlite3.connect(self.cache)
        try:
            return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        finally:
            connection.close()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    this = Office(tmp_path)
    yield this
    for process in this.processes:
        process.kill()
        process.communicate()


def expected(count: int) -> list[float]:
    return [reply(request(number)).probabilities[0] for number in range(count)]


def test_two_that_label_the_same_list_at_once_share_the_work(office: Office) -> None:
    both = [office.start(60, seconds=0.02, concurrency=4) for _ in range(2)]
    office.together()
    said = [office.said(process) for process in both]
    assert [its["probabilities"] for its in said] == [expected(60)] * 2
    assert Counter(office.calls()) == Counter(f"question {number}" for number in range(60))
    assert min(its["calls"] for its in said) > 0
    assert sum(its.calls for its in totals(office.cache)) == sum(its.cached for its in totals(office.cache)) == 60


def test_many_that_write_at_once_leave_a_whole_file(office: Office) -> None:
    many = [office.start(100, start=50 * number) for number in range(4)]
    office.together()
    for process in many:
        assert office.said(process).get("kinds") == ["Reply"] * 100
    assert sorted(office.calls()) == sorted(f"question {number}" for number in range(250))
    assert office.whole()
    assert sum(1 for _ in ledger(office.cache)) == 250


def test_a_kill_costs_no_more_than_what_was_under_way(office: Office) -> None:
    doomed = office.start(100, seconds=0.02, concurrency=4, lease=0.5, account="its")
    office.together()
    office.wait_for_calls(40)
    doomed.kill()
    doomed.wait()
    before = len(office.calls())
    kept = sum(1 for _ in ledger(office.cache))
    assert before - 5 <= kept <= before  # its log is ahead of its replies by what is under way
    heir = office.said(office.start(100, lease=0.5, account="its"))
    assert heir["probabilities"] == expected(100)
    twice = [key for key, times in Counter(office.calls()).items() if times > 1]
    assert len(office.calls()) == 100 + len(twice)
    assert len(twice) <= 4
    # What was under way is in the ledger, and on the account: it may have been paid for.
    outcomes = Counter(call.outcome for call in ledger(office.cache))
    assert outcomes["reply"] == 100
    assert len(twice) <= outcomes["lost"] <= 4
    assert office.whole()


def test_whenever_it_is_killed_the_file_is_whole_and_what_it_said_it_kept_is_there(office: Office) -> None:
    """Each process asks for what is missing, as fast as it can, and is killed after some more calls."""
    office.go.touch()
    lost = 0
    for calls in (1, 2, 20, 45, 90, 91):
        doomed = office.start(1000, lease=0.05)
        office.wait_for_calls(calls + lost)
        doomed.kill()
        doomed.wait()
        assert office.whole()
        kept = {call.key for call in ledger(office.cache) if call.outcome == "reply"}
        assert len(kept) >= len({*office.calls()}) - 1
        lost = len(office.calls()) - len(kept)
    assert office.said(office.start(200, lease=0.05))["probabilities"] == expected(200)
    assert max(Counter(office.calls()).values()) <= 1 + 6


def test_who_waits_for_one_that_is_killed_takes_over(office: Office) -> None:
    doomed = office.start(1, seconds=600, lease=0.5)
    office.together()
    office.wait_for_calls(1)
    heir = office.start(1, lease=0.5)
    time.sleep(1)  # longer than the lease, which is renewed meanwhile
    assert heir.poll() is None
    assert len(office.calls()) == 1
    doomed.kill()
    assert office.said(heir)["probabilities"] == expected(1)
    assert [call.outcome for call in ledger(office.cache)] == ["lost", "reply"]


@pytest.mark.parametrize(("limit", "calls"), [({"budget_calls": 50}, 50), ({"budget_tokens": 50 * TOKENS}, 55)])
def test_processes_that_share_an_account_overspend_by_no_more_than_is_under_way(
    office: Office, limit: dict[str, int], calls: int
) -> None:
    common = {"account": "team", "when_spent": "abstain", "concurrency": 2, "seconds": 0.002, **limit}
    three = [office.start(40, start=40 * number, **common) for number in range(3)]
    office.together()
    said = [office.said(process) for process in three]
    assert 50 <= len(office.calls()) <= calls
    assert sum(its["kinds"].count("Reply") for its in said) == len(office.calls())
    assert sum(its["kinds"].count("Abstain") for its in said) == 120 - len(office.calls())


def test_a_budget_outlives_a_kill(office: Office) -> None:
    doomed = office.start(100, seconds=0.01, lease=0.3, account="its", budget_calls=30)
    office.together()
    office.wait_for_calls(15)
    doomed.kill()
    doomed.wait()
    time.sleep(0.4)
    stopped = office.said(office.start(100, lease=0.3, account="its", budget_calls=30))
    assert "budget_calls is 30, and account 'its' has paid for 30 calls" in stopped["error"]
    assert len(office.calls()) in (29, 30)  # it may have been killed after it had claimed and before it had asked
    assert sum(1 for _ in ledger(office.cache, account="its")) == 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_desk_goes_on_in_a_forked_child_and_in_its_parent(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from scripted_backend import Scripted, request
from rlaif_judges.economy.budget import Economy
from rlaif_judges.economy.desk import Desk
desk = Desk(Scripted(), judge="main", economy=Economy(cache=sys.argv[1], account="its"))
desk.answer([request(0)])
if child := os.fork():
    desk.answer([request(1)])
    assert os.waitpid(child, 0)[1] == 0
    desk.answer([request(2)])
    assert desk.spent.calls == 4, desk.spent
else:
    # SQLite must not be handed over a fork: its locks are the parent's alone.
    handles = Path("/proc/self/fd")
    assert not handles.exists() or sys.argv[1] not in [str(its.resolve()) for its in handles.iterdir()]
    desk.answer([request(0), request(3)])
    assert len(desk.backend.calls) == 2
    desk.close()
    os._exit(0)
"""
    folder = Path(scripted_backend.__file__).parent
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path / "judges.sqlite")]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(folder)}, check=False, timeout=60)
    assert done.returncode == 0
    assert sum(1 for _ in ledger(tmp_path / "judges.sqlite")) == 4
