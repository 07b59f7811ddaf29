"""Reading the ledger: every call that judges made through a cache's file, and what they come to."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlaif_judges.economy.database import Database
from rlaif_judges.economy.store import SCHEMA, VERSION

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call: `time` is that of its end (seconds since 1970), `seconds` how long it took.

    `identity`, `key` and `prompt` are SHA-256 digests of who was asked, of all that the reply depends on, and of the
    conversation alone. `outcome` is "reply"; "failed"; or "lost", where it ended with the process or by an
    interruption, and may have been paid for. `answer` is the raw text, or why there is none; `probabilities` are those
    of the options, in the order in which they were offered.
    """

    time: float
    account: str
    judge: str
    model: str
    identity: str
    key: str
    prompt: str
    outcome: str
    tokens_in: int
    tokens_out: int
    cost: float
    seconds: float
    answer: str
    probabilities: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What one judge did on one account: calls made, those of them without a reply, requests answered without a call.

    `p50` and `p95` are the seconds within which half, and 95 %, of the replies came (nearest rank; 0 without any).
    """

    judge: str
    account: str
    calls: int
    failed: int
    cached: int
    tokens_in: int
    tokens_out: int
    cost: float
    p50: float
    p95: float


def ledger(path: Path | str, account: str | None = None) -> Iterator[Call]:
    """The calls in the file at `path`, of all accounts or of one, oldest first, with those made while it is read."""
    file = _opened(path)
    columns = [name for name in Call.__dataclass_fields__ if name not in ("answer", "probabilities")]
    which = "" if account is None else "AND account = :account"
    read = f"SELECT id, answer, probabilities, {', '.join(columns)} FROM calls"
    page = f"{read} WHERE id > :last {which} ORDER BY id LIMIT {_PAGE}"
    last = 0
    try:
        while True:  # page by page: a long look at the file would keep its log from being cut back
            with file.reading() as connection:
                rows = connection.execute(page, {"last": last, "account": account}).fetchall()
            if not rows:
                return
            for last, answer, probabilities, *values in rows:  # noqa: B007  it is where the next page begins
                said = {"answer": json.loads(answer), "probabilities": tuple(json.loads(probabilities))}
                yield Call(**said, **dict(zip(columns, values, strict=True)))
    finally:
        file.close()


def totals(path: Path | str, account: str | None = None) -> list[Total]:
    """What the calls in the file at `path` come to, by judge and account, in the order of their names."""
    file = _opened(path)
    try:
        with file.reading() as connection:
            kept = "SELECT judge, account, cached FROM totals WHERE account = coalesce(?, account) ORDER BY 1, 2"
            return [_total(connection, *row) for row in connection.execute(kept, (account,)).fetchall()]
    finally:
        file.close()


def _total(connection: sqlite3.Connection, judge: str, account: str, cached: int) -> Total:
    whose, which = "FROM calls WHERE account = ? AND judge = ?", (account, judge)
    asked = f"SELECT count(*), total(outcome <> 'reply'), total(tokens_in), total(tokens_out), total(cost) {whose}"
    calls, failed, tokens_in, tokens_out, cost = connection.execute(asked, which).fetchone()
    took = connection.execute(f"SELECT seconds {whose} AND outcome = 'reply' ORDER BY seconds", which).fetchall()
    return Total(
        judge=judge,
        account=account,
        calls=calls,
        failed=int(failed),
        cached=cached,
        tokens_in=int(tokens_in),
        tokens_out=int(tokens_out),
        cost=cost,
        p50=_rank([seconds for (seconds,) in took], 0.5),
        p95=_rank([seconds for (seconds,) in took], 0.95),
    )


def _rank(ordered: list[float], share: float) -> float:
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else 0.0


def _opened(path: Path | str) -> Database:
    return Database(Path(path).expanduser(), SCHEMA, VERSION, existing=True)
