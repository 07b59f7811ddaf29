"""Where a judge's requests are handed in: answered from what was kept, or by the backend within the budget.

Whatever ends a call or a process, what was paid for is kept first, and the ledger says what it was.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from rlaif_core import Abstain, Failed, FeedbackError, PluginError
from rlaif_core.errors import all_of
from rlaif_judges.asking import Backend, Finding, Reply, Request
from rlaif_judges.economy.budget import SPENT, Economy, Spent
from rlaif_judges.economy.store import LEASE, Caller, Store, digest
from rlaif_judges.economy.unkept import Unkept

Said = Reply | Failed | Abstain

LOOK = 256
"""How many requests are looked at in one transaction to find one that may be asked."""
WAITS = (0.01, 0.25)
"""Seconds between two looks at what others are asking: at first, and at most."""
INTERRUPTED = "interrupted while it was under way"


class Desk:
    """Answers requests for one judge, from any number of threads. `judge` is its name in messages and in the ledger.

    Each distinct request is paid for once, by whichever process that shares the cache comes first; the others wait for
    its reply, and ask themselves if it failed or its process died (`lease` seconds without a sign of life). `Failed` is
    never kept. A reply from the cache equals the one that was paid for, `cost` and `seconds` included. With the same
    backend, the same requests and nobody else at work, calls are made in the order of the requests.
    """

    def __init__(self, backend: Backend, *, judge: str, economy: Economy, lease: float = LEASE) -> None:
        self.backend = backend
        self.judge = _legible(judge)
        self.economy = economy
        file = economy.file()
        self.store: Store | Unkept = Unkept() if file is None else Store(file, lease=lease)
        self._account = economy.account or f"{self.judge}-{secrets.token_hex(6)}"

    @property
    def account(self) -> str:
        """Whose budget it is."""
        return self._account

    @property
    def spent(self) -> Spent:
        """What the account has paid for so far, whoever shares it and however often the run was resumed."""
        return self.store.spent(self._account)

    def answer(self, requests: Sequence[Request]) -> list[Said]:
        """A reply each, in order; `Failed` where the backend failed, and `Abstain` where the budget is spent and
        `when_spent` is "abstain". With "stop" that raises `FeedbackError`, once what was under way has been kept."""
        self._recall()
        distinct: dict[Request, int] = {}
        numbers = [distinct.setdefault(request, len(distinct)) for request in requests]
        said: dict[int, Said] = {}
        paid = 0
        while missing := {number: request for request, number in distinct.items() if number not in said}:
            work = _Pass(self, missing)
            work.run()
            said |= work.said
            paid += work.paid
            if work.exhausted and self.economy.when_spent == "stop":
                raise FeedbackError(self._stopped(work.exhausted))
            if work.held and not work.asked:
                self._wait(work.held)
        cached = sum(isinstance(said[number], Reply) for number in numbers) - paid
        if cached:
            self.store.cached(self._account, self.judge, cached)
        return [said[number] for number in numbers]

    def _recall(self) -> None:
        """Let the backend know what it has found out before, or keep what it finds out now: nobody is asked twice."""
        its = self.backend
        if isinstance(its, Finding) and its.subject and not its.found:
            its.found = self.store.fact(its.subject)
            if not its.found:
                _ = its.identity  # which finds out
                self.store.note(its.subject, its.found)

    def state_dict(self) -> dict[str, Any]:
        return {"account": self._account}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the account of the run; what it has spent stands in the cache's file and stays spent."""
        self._account = self.economy.account or state["account"]

    def close(self) -> None:
        """Let go of the cache's file; the next call opens it again."""
        self.store.close()

    def _wait(self, keys: Sequence[str]) -> None:
        """Until any of the keys is no longer being asked."""
        pause, longest = WAITS
        while len(self.store.held(keys)) == len(keys):
            time.sleep(pause)
            pause = min(1.5 * pause, longest)

    def _stopped(self, exhausted: str) -> str:
        limit, spent = self.economy.limits()[exhausted], self.spent
        return (
            f"the budget of judge {self.judge!r} is spent: {exhausted} is {limit:g}, and account {self._account!r} has "
            f"paid for {spent.calls} calls, {spent.tokens} tokens and {spent.cost:g} in money; every reply is kept: "
            f"raise {exhausted} and go on (`rlaif resume RUN --set judges.NAME.{exhausted}=...`), or let "
            'the judge do without by when_spent = "abstain"'
        )


class _Pass:
    """One go of the backend over those of `wanted`, requests by number, that nobody knows or is asking."""

    def __init__(self, desk: Desk, wanted: Mapping[int, Request]) -> None:
        self._backend, self._store, self._economy = desk.backend, desk.store, desk.economy
        self._identity = dict(self._backend.identity)
        self._caller = Caller(
            owner=secrets.token_hex(8),
            account=desk.account,
            judge=desk.judge,
            model=_legible(str(self._identity.get("model", ""))),
            identity=digest(self._identity),
        )
        self._wanted = wanted
        self._numbers = {request.key(self._identity): number for number, request in wanted.items()}
        known = self._store.known([*self._numbers])
        self.said: dict[int, Said] = {self._numbers[key]: reply for key, reply in known.items()}
        self.held: list[str] = []
        self.asked, self.paid = 0, 0
        self.exhausted = ""
        self._queue = deque((key, wanted[number]) for key, number in self._numbers.items() if key not in known)
        self._under_way: dict[int, tuple[str, float]] = {}

    def run(self) -> None:
        pulled = self._pull()
        replies: Iterator[tuple[int, Reply | Failed]] = iter(())
        try:
            if (first := next(pulled, None)) is None:
                return  # the backend is not troubled for nothing
            replies = self._backend.answer(chain([first], pulled))
            with self._store.renewing(self._caller.owner):
                for number, said in replies:
                    self._take(number, said)
            if self._under_way:
                raise PluginError(f"{self._whose} gave no reply to {len(self._under_way)} of {self.asked} requests")
        except BaseException as error:
            close = getattr(replies, "close", lambda: None)
            all_of(error, close, lambda: self._store.lose(self._caller.owner, INTERRUPTED))
            raise

    def _pull(self) -> Iterator[tuple[int, Request]]:
        """Claim one request after the other, for as long as the backend stays who it is: keys hold for that alone."""
        while self._queue and (not self.asked or dict(self._backend.identity) == self._identity):
            looked = [*islice(self._queue, LOOK)]
            claim = self._store.claim(self._caller, self._economy, looked)
            for _ in range(claim.looked):
                key, _ = self._queue.popleft()
                if key in claim.known:
                    self.said[self._numbers[key]] = claim.known[key]
                elif key in claim.held:
                    self.held.append(key)
                elif key in claim.refused:
                    self.said[self._numbers[key]] = Abstain(f"{SPENT} ({claim.exhausted})")
            self.exhausted = claim.exhausted or self.exhausted
            if claim.mine is not None:
                number = self._numbers[claim.mine]
                self.asked += 1
                self._under_way[number] = (claim.mine, time.monotonic())
                yield number, self._wanted[number]

    def _take(self, number: int, said: Reply | Failed) -> None:
        if number not in self._under_way:
            raise PluginError(f"{self._whose} answered request {number}, which it had not taken or answered before")
        (claimed, start), request = self._under_way[number], self._wanted[number]
        if not isinstance(said, Reply | Failed):
            raise PluginError(f"{self._whose} answered with a {type(said).__name__}; a Reply or Failed is due")
        if isinstance(said, Reply) and len(said.probabilities) != len(request.options):
            raise PluginError(
                f"{self._whose} gave {len(said.probabilities)} probabilities for {len(request.options)} options"
            )
        identity, caller, key = dict(self._backend.identity), self._caller, claimed
        if identity != self._identity:  # it found out something about itself meanwhile, by which the reply is kept
            caller, key = replace(caller, identity=digest(identity)), request.key(identity)
        seconds = time.monotonic() - start
        self.said[number] = self._store.keep(caller, claimed, key, request, said, seconds)
        del self._under_way[number]
        self.paid += isinstance(said, Reply)

    @property
    def _whose(self) -> str:
        return f"backend {type(self._backend).__name__}"


def _legible(text: str) -> str:
    """What SQLite can hold: half characters are spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()
