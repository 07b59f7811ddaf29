from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlaif_core import Failed
from rlaif_judges.asking import Request
from rlaif_judges.economy import store as module
from rlaif_judges.economy.budget import Economy, Spent
from rlaif_judges.economy.ledger import ledger
from rlaif_judges.economy.store import Caller, Claim, Store
from scripted_backend import COST, TOKENS, reply, request

ME = Caller(owner="me", account="mine", judge="main", model="m", identity="digest")
YOU = replace(ME, owner="you", account="yours")
FREE = Economy()


class Clock:
    now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    this = Clock()
    monkeypatch.setattr(module, "time", this)
    return this


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "judges.sqlite"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    this = Store(file, lease=10.0)
    yield this
    this.close()


def wanted(*numbers: int) -> list[tuple[str, Request]]:
    return [(f"key {number}", request(number)) for number in numbers]


def claim(store: Store, caller: Caller, *numbers: int, economy: Economy = FREE) -> Claim:
    return store.claim(caller, economy, wanted(*numbers))


def keep(store: Store, caller: Caller, number: int, said: Any = None) -> Any:
    key, asked = wanted(number)[0]
    return store.keep(caller, key, key, asked, said or reply(asked), 0.5)


def test_the_first_that_nobody_knows_or_asks_is_claimed_and_no_more(store: Store, clock: Clock) -> None:
    claim(store, ME, 1)
    keep(store, ME, 1)
    claim(store, ME, 2)
    said = claim(store, YOU, 1, 2, 3, 4)
    assert said == Claim(3, {"key 1": reply(request(1))}, {"key 2"}, set(), mine="key 3")
    assert store.held(["key 1", "key 2", "key 3", "key 4"]) == {"key 2", "key 3"}


def test_a_claim_ends_with_its_call(store: Store, clock: Clock) -> None:
    claim(store, ME, 1)
    keep(store, ME, 1, Failed("down"))
    assert not store.held(["key 1"])
    assert claim(store, YOU, 1).mine == "key 1"
    keep(store, ME, 1)  # of somebody else it does not end
    assert store.held(["key 1"]) == {"key 1"}


def test_a_claim_runs_out_and_is_written_down_as_lost(store: Store, clock: Clock, file: Path) -> None:
    claim(store, ME, 1)
    clock.now += 10
    assert claim(store, YOU, 1).held == {"key 1"}
    clock.now += 0.5
    assert not store.held(["key 1"])
    assert claim(store, YOU, 1).mine == "key 1"
    (lost,) = ledger(file)
    assert (lost.outcome, lost.account, lost.key, lost.seconds) == ("lost", "mine", "key 1", 10.5)
    assert "its process ended" in lost.answer
    assert store.spent("mine") == Spent(1, 0, 0.0)


def test_a_claim_from_before_the_clock_was_set_back_does_not_hold_for_ever(store: Store, clock: Clock) -> None:
    clock.now = 1e9
    claim(store, ME, 1)
    clock.now = 1e6
    assert not store.held(["key 1"])
    assert claim(store, YOU, 1).mine == "key 1"


def test_a_renewed_claim_holds(file: Path) -> None:
    store = Store(file, lease=0.06)
    with store.renewing("me"):
        claim(store, ME, 1)
        for _ in range(20):
            assert claim(store, YOU, 1).held == {"key 1"}
            module.time.sleep(0.01)
    store.close()


def test_giving_up_lets_go_of_everything_of_ones_own(store: Store, clock: Clock, file: Path) -> None:
    claim(store, ME, 1)
    claim(store, ME, 2)
    claim(store, YOU, 3)
    store.lose("me", "no more")
    assert store.held(["key 1", "key 2", "key 3"]) == {"key 3"}
    assert [(its.outcome, its.answer) for its in ledger(file)] == [("lost", "no more")] * 2


def test_what_is_under_way_counts_as_a_call_already(store: Store, clock: Clock) -> None:
    economy = Economy(budget_calls=2)
    claim(store, ME, 1)
    keep(store, ME, 1)
    assert claim(store, ME, 2, economy=economy).mine == "key 2"
    refused = claim(store, ME, 1, 2, 3, 4, economy=economy)
    assert refused == Claim(
        4, {"key 1": reply(request(1))}, {"key 2"}, {"key 3", "key 4"}, mine=None, exhausted="budget_calls"
    )
    assert claim(store, YOU, 3, economy=economy).mine == "key 3"  # another account


def test_judges_of_one_account_spend_together(store: Store, clock: Clock) -> None:
    for number, judge in enumerate(("main", "other")):
        caller = replace(ME, judge=judge)
        claim(store, caller, number)
        keep(store, caller, number)
    assert store.spent("mine") == Spent(2, 2 * TOKENS, 2 * COST)
    assert store.spent("yours") == Spent()


def test_the_reply_that_was_there_first_stands(store: Store, clock: Clock) -> None:
    first, late = reply(request(1)), replace(reply(request(1)), text="late")
    assert keep(store, ME, 1, first) == first
    assert keep(store, YOU, 1, late) == first
    assert store.known(["key 1", "key 2"]) == {"key 1": first}
