"""What stands in for the file where nothing is to be kept: every request is asked, and what it cost is counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rlaif_core import Failed
from rlaif_judges.asking import Reply, Request
from rlaif_judges.economy.budget import Economy, Spent
from rlaif_judges.economy.store import Caller, Claim


class Unkept:
    """A `Store` that forgets replies at once, and what was spent with the process."""

    def __init__(self) -> None:
        self._spent: dict[str, Spent] = {}
        self._turn = threading.Lock()

    def known(self, keys: Sequence[str]) -> dict[str, Reply]:
        return {}

    def claim(self, caller: Caller, economy: Economy, wanted: Sequence[tuple[str, Request]]) -> Claim:
        return Claim(1, {}, set(), set(), mine=wanted[0][0])

    def keep(
        self, caller: Caller, claimed: str, key: str, request: Request, said: Reply | Failed, seconds: float
    ) -> Reply | Failed:
        tokens = said.tokens_in + said.tokens_out if isinstance(said, Reply) else 0
        with self._turn:
            spent = self.spent(caller.account)
            self._spent[caller.account] = Spent(spent.calls + 1, spent.tokens + tokens, spent.cost + said.cost)
        return said

    def lose(self, owner: str, why: str) -> None: ...

    def held(self, keys: Sequence[str]) -> set[str]:
        return set()

    def cached(self, account: str, judge: str, count: int) -> None: ...

    def spent(self, account: str) -> Spent:
        return self._spent.get(account, Spent())

    def fact(self, subject: str) -> str:
        return ""

    def note(self, subject: str, found: str) -> None: ...

    @contextmanager
    def renewing(self, owner: str) -> Iterator[None]:
        yield

    def close(self) -> None: ...
