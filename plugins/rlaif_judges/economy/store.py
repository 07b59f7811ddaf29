"""What judges were told, in one SQLite file: a ledger of every call, the replies among them, and who is asking what.

A call is claimed before it is made, so that nobody else pays for the same reply meanwhile. A claim holds for the length
of a lease and is renewed while the call is under way; one that runs out is of a process that died, and its call goes
into the ledger as lost: it may have been paid for.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rlaif_core import Failed, RlaifError
from rlaif_judges.asking import Reply, Request
from rlaif_judges.economy.budget import Economy, Spent
from rlaif_judges.economy.database import Database

VERSION = 2
SCHEMA = (
    """CREATE TABLE calls (
        id INTEGER PRIMARY KEY, time REAL NOT NULL, account TEXT NOT NULL, judge TEXT NOT NULL, model TEXT NOT NULL,
        identity TEXT NOT NULL, key TEXT NOT NULL, prompt TEXT NOT NULL, outcome TEXT NOT NULL,
        tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, cost REAL NOT NULL, seconds REAL NOT NULL,
        answer TEXT NOT NULL, cut INTEGER NOT NULL, probabilities TEXT NOT NULL, mass REAL NOT NULL)""",
    "CREATE INDEX calls_of_account ON calls (account)",
    "CREATE TABLE replies (key TEXT PRIMARY KEY, call INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE facts (subject TEXT PRIMARY KEY, found TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE claims (
        key TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL, since REAL NOT NULL, account TEXT NOT NULL,
        judge TEXT NOT NULL, model TEXT NOT NULL, identity TEXT NOT NULL, prompt TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE totals (
        account TEXT NOT NULL, judge TEXT NOT NULL, calls INTEGER NOT NULL, cached INTEGER NOT NULL,
        tokens INTEGER NOT NULL, cost REAL NOT NULL, PRIMARY KEY (account, judge)) WITHOUT ROWID""",
)
LEASE = 15.0
"""Seconds for which a claim holds without being renewed."""
DIED = "its process ended, or stood still, while it was under way"
_MANY = 500  # variables in one statement; SQLite takes 999 at least


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """In whose name calls are made: `owner` is one pass of one thread, `identity` a digest of the backend's."""

    owner: str
    account: str
    judge: str
    model: str
    identity: str


class Claim(NamedTuple):
    """What came of looking through the first `looked` keys for a call to make.

    `mine` may be asked now. What is `known` needs no call, what is `held` somebody else is asking, and for what is
    `refused` there is no budget, of which the option whose limit is `exhausted` is named.
    """

    looked: int
    known: dict[str, Reply]
    held: set[str]
    refused: set[str]
    mine: str | None = None
    exhausted: str = ""


class Store:
    """The file at `path`; a claim in it holds for `lease` seconds."""

    def __init__(self, path: Path, *, lease: float = LEASE) -> None:
        self._database = Database(path, SCHEMA, VERSION)
        self._lease = lease

    def known(self, keys: Sequence[str]) -> dict[str, Reply]:
        """The replies that there are under `keys`."""
        found: dict[str, Reply] = {}
        with self._database.reading() as connection:
            for some in _portions(keys):
                found |= _replies(connection, some)
        return found

    def claim(self, caller: Caller, economy: Economy, wanted: Sequence[tuple[str, Request]]) -> Claim:
        """Claim the first of `wanted`, keys and requests, that nobody knows or is asking, if the budget allows."""
        now, claim = time.time(), Claim(len(wanted), {}, set(), set())
        with self._database.writing() as connection:
            # A claim that would hold for very long was made before the clock was set back.
            _lose(connection, "until < ? OR until > ?", (now, now + 10 * self._lease), DIED)
            for looked, (key, request) in enumerate(wanted, 1):
                if reply := _replies(connection, [key]):
                    claim.known.update(reply)
                elif connection.execute("SELECT 1 FROM claims WHERE key = ?", (key,)).fetchone():
                    claim.held.add(key)
                elif claim.exhausted:
                    claim.refused.add(key)
                elif economy.limited and (exhausted := economy.exhausted(*_used(connection, caller.account))):
                    claim = claim._replace(exhausted=exhausted)
                    claim.refused.add(key)
                else:
                    who = (caller.account, caller.judge, caller.model, caller.identity)
                    row = (key, caller.owner, now + self._lease, now, *who, _prompt(request))
                    connection.execute(f"INSERT INTO claims VALUES ({_marks(row)})", row)
                    return claim._replace(looked=looked, mine=key)
        return claim

    def keep(
        self, caller: Caller, claimed: str, key: str, request: Request, said: Reply | Failed, seconds: float
    ) -> Reply | Failed:
        """Write down what came of the call `claimed`, and a reply under `key`, for everybody.

        Returns what is to be believed: where a claim ran out and others asked again, the reply that was there first.
        """
        with self._database.writing() as connection:
            connection.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (claimed, caller.owner))
            call = _record(connection, caller, key, _prompt(request), said, seconds)
            if isinstance(said, Failed):
                return said
            first = connection.execute("INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, call)).rowcount
            return said if first else _replies(connection, [key])[key]

    def lose(self, owner: str, why: str) -> None:
        """Give up what `owner` has under way; it counts as paid for."""
        with self._database.writing() as connection:
            _lose(connection, "owner = ?", (owner,), why)

    def held(self, keys: Sequence[str]) -> set[str]:
        """Those of `keys` that somebody is asking."""
        now, found = time.time(), set()
        with self._database.reading() as connection:
            for some in _portions(keys):
                held = f"SELECT key FROM claims WHERE until BETWEEN ? AND ? AND key IN ({_marks(some)})"
                found |= {key for (key,) in connection.execute(held, (now, now + 10 * self._lease, *some))}
        return found

    def cached(self, account: str, judge: str, count: int) -> None:
        """Count requests that were answered without a call."""
        with self._database.writing() as connection:
            _add(connection, account, judge, cached=count)

    def spent(self, account: str) -> Spent:
        """What all judges that share an account have paid for."""
        with self._database.reading() as connection:
            return _spent(connection, account)

    @contextmanager
    def renewing(self, owner: str) -> Iterator[None]:
        """Renew the claims of `owner` from another thread, however long the calls take."""
        done = threading.Event()

        def renew() -> None:
            while not done.wait(self._lease / 3):
                try:
                    with self._database.writing() as connection:
                        until = time.time() + self._lease
                        connection.execute("UPDATE claims SET until = ? WHERE owner = ?", (until, owner))
                except RlaifError:
                    pass  # who keeps the next reply meets it, too, and can say so

        thread = threading.Thread(target=renew, name="rlaif-claims", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def fact(self, subject: str) -> str:
        """What was found out about a subject, "" if nothing was."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT found FROM facts WHERE subject = ?", (subject,)).fetchone()
        return str(row[0]) if row else ""

    def note(self, subject: str, found: str) -> None:
        """Keep what was found out; what was found first stays."""
        with self._database.writing() as connection:
            connection.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (subject, found))

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        self._database.close()


def digest(value: Any) -> str:
    """Hexadecimal SHA-256 of what JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def _prompt(request: Request) -> str:
    """A digest of the conversation alone: equal for whoever is asked, and however."""
    return digest([[message.role, message.content] for message in request.messages])


def _record(
    connection: sqlite3.Connection,
    caller: Caller,
    key: str,
    prompt: str,
    said: Reply | Failed,
    seconds: float,
    outcome: str = "failed",
) -> int:
    """A row of the ledger, and what it adds to the totals; returns its number."""
    if isinstance(said, Reply):
        reply, outcome = said, "reply"
    else:
        cost = said.cost if math.isfinite(said.cost) and said.cost > 0 else 0.0
        reply = Reply(text=said.reason, cost=cost, seconds=seconds)
    row = (
        *(time.time(), caller.account, caller.judge, caller.model, caller.identity, key, prompt, outcome),
        *(reply.tokens_in, reply.tokens_out, reply.cost, reply.seconds),
        *(json.dumps(reply.text), reply.cut, json.dumps(reply.probabilities), reply.mass),  # as JSON any text fits in
    )
    call = connection.execute(f"INSERT INTO calls VALUES (NULL, {_marks(row)})", row).lastrowid
    assert call is not None
    tokens = reply.tokens_in + reply.tokens_out
    _add(connection, caller.account, caller.judge, calls=1, tokens=tokens, cost=reply.cost)
    return call


def _lose(connection: sqlite3.Connection, which: str, values: tuple[Any, ...], why: str) -> None:
    columns = "key, owner, since, account, judge, model, identity, prompt"
    lost = connection.execute(f"SELECT {columns} FROM claims WHERE {which}", values).fetchall()
    for key, owner, since, account, judge, model, identity, prompt in lost:
        caller = Caller(owner=owner, account=account, judge=judge, model=model, identity=identity)
        _record(connection, caller, key, prompt, Failed(why), max(time.time() - since, 0.0), "lost")
        connection.execute("DELETE FROM claims WHERE key = ?", (key,))


def _add(connection: sqlite3.Connection, account: str, judge: str, **more: float) -> None:
    connection.execute("INSERT OR IGNORE INTO totals VALUES (?, ?, 0, 0, 0, 0.0)", (account, judge))
    added = ", ".join(f"{name} = {name} + ?" for name in more)
    connection.execute(f"UPDATE totals SET {added} WHERE account = ? AND judge = ?", (*more.values(), account, judge))


def _replies(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Reply]:
    columns = "replies.key, answer, cut, probabilities, mass, tokens_in, tokens_out, cost, seconds"
    found = f"SELECT {columns} FROM replies JOIN calls ON calls.id = call WHERE replies.key IN ({_marks(keys)})"
    return {
        key: Reply(
            text=json.loads(answer),
            cut=bool(cut),
            probabilities=tuple(json.loads(probabilities)),
            mass=mass,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost=cost,
            seconds=seconds,
        )
        for key, answer, cut, probabilities, mass, tokens_in, tokens_out, cost, seconds in connection.execute(
            found, keys
        )
    }


def _spent(connection: sqlite3.Connection, account: str) -> Spent:
    asked = "SELECT total(calls), total(tokens), total(cost) FROM totals WHERE account = ?"
    calls, tokens, cost = connection.execute(asked, (account,)).fetchone()
    return Spent(int(calls), int(tokens), cost)


def _used(connection: sqlite3.Connection, account: str) -> tuple[Spent, int]:
    """What was paid for, and how many calls are under way."""
    asked = "SELECT count(*) FROM claims WHERE account = ?"
    return _spent(connection, account), int(connection.execute(asked, (account,)).fetchone()[0])


def _portions(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    return (keys[start : start + _MANY] for start in range(0, len(keys), _MANY))


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
