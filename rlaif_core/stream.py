"""Prompts read as they are needed, of data too large for memory: shuffled in a buffer, taken up again exactly.

A resumed run reads its epoch again up to where it was, which is exact whatever the source and costs only the reading; a
hash over all that was read tells whether it is the same data. In memory are the rows of the buffer and one batch.
"""

from __future__ import annotations

import hashlib
import sqlite3
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random

from rlaif_core.errors import CheckpointError, DataError
from rlaif_core.protocols import State
from rlaif_core.rows import content
from rlaif_core.types import Prompt

CHANGED = "the prompts are not those that the checkpoint was made with; restore the dataset, or start a new run"


class PromptStream:
    """An endless stream of batches out of `opened()`, which goes through the whole dataset each time it is called.

    Each epoch draws every prompt once: at random out of a `buffer` of the next ones, or in order without `shuffle`.
    """

    def __init__(
        self, opened: Callable[[], Iterator[Prompt]], *, seed: int, shuffle: bool = True, buffer: int = 1000
    ) -> None:
        self._opened, self._seed = opened, seed
        self._shuffle, self._most = shuffle, buffer if shuffle else 1
        self._whole: str | None = None  # the fingerprint of a whole epoch, once one was read
        self._checked = 0
        self._last: deque[Prompt] = deque(maxlen=0)
        self._begin(0)

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Those of the last batch: what a half-used batch of rollouts may still be about."""
        return tuple(self._last)

    @property
    def fingerprint(self) -> str:
        """A hash over every prompt, and its other columns, that was read in this epoch."""
        return self._digest.hexdigest()

    def take(self, count: int) -> list[Prompt]:
        """The next `count` prompts."""
        self.check(count)
        self._last = deque(maxlen=count)
        for _ in range(count):
            self._last.append(self._next())
        return list(self._last)

    def check(self, count: int) -> None:
        """Raise unless there are `count` different prompts."""
        if count > self._checked:
            there = sum(1 for _ in islice(self._opened(), count))
            if there == 0:
                raise DataError("the dataset has no prompts; nothing to train on")
            if there < count:
                raise DataError(
                    f"[prompts] batch is {count}, but there are only {there} prompts; lower batch or add rows"
                )
            self._checked = count

    def _begin(self, epoch: int) -> None:
        self._epoch, self._given, self._read = epoch, 0, 0
        self._rows: Iterator[Prompt] | None = None
        self._waiting: list[Prompt] = []
        self._digest = hashlib.sha256()
        self._random = Random(f"{self._seed}/prompts/{epoch}")
        self._ids = Ids() if epoch == 0 else None  # in later epochs they are those of the first, by the fingerprint

    def _next(self) -> Prompt:
        self._fill()
        if not self._waiting:
            if not self._read:
                raise DataError("the dataset has no prompts; nothing to train on")
            self._end()
            self._begin(self._epoch + 1)
            self._fill()
        at = self._random.randrange(len(self._waiting)) if self._shuffle else 0
        self._waiting[at], self._waiting[-1] = self._waiting[-1], self._waiting[at]
        self._given += 1
        return self._waiting.pop()

    def _fill(self) -> None:
        rows = self._rows = self._opened() if self._rows is None else self._rows
        for prompt in islice(rows, self._most - len(self._waiting)):
            if self._ids is not None:
                self._ids.add(prompt.id, self._read)
            self._read += 1
            self._digest.update(content(prompt))
            self._waiting.append(prompt)

    def _end(self) -> None:
        if self._ids is not None:
            self._ids.close()
        if self._whole not in (None, self.fingerprint):
            raise DataError(
                f"the prompts of epoch {self._epoch + 1} are not those of the first; the data must not change under a "
                "run: restore it, or start a new one"
            )
        self._whole = self.fingerprint

    def state_dict(self) -> State:
        return {
            "epoch": self._epoch,
            "given": self._given,
            "read": self._read,
            "batch": len(self._last),
            "fingerprint": self.fingerprint,
            "whole": self._whole,
        }

    def load_state_dict(self, state: State) -> None:
        epoch, given, batch = state["epoch"], state["given"], state["batch"]
        self._whole, self._last = state["whole"], deque(maxlen=batch)
        first = epoch - 1 if epoch and given < batch else epoch  # the batch may have begun in the epoch before
        self._begin(first)
        try:
            while (self._epoch, self._given) != (epoch, given):
                self._last.append(self._next())
                if self._epoch > epoch:
                    raise CheckpointError(CHANGED)
        except DataError as error:
            raise CheckpointError(f"{CHANGED} ({error})") from error
        if (self._read, self.fingerprint) != (state["read"], state["fingerprint"]):
            raise CheckpointError(CHANGED)


class Ids:
    """Which ids there were, in a temporary database that keeps two megabytes in memory and the rest on the disk.

    An id is kept as 16 bytes of its hash, so that a million take some 40 megabytes there.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._database.execute("CREATE TABLE ids (id BLOB PRIMARY KEY, row INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")
        self.close = weakref.finalize(self, self._database.close)

    def add(self, identity: str, row: int) -> None:
        """Take note of the id of a row; DataError where another row has it."""
        key = hashlib.blake2b(identity.encode(), digest_size=16).digest()
        try:
            self._database.execute("INSERT INTO ids VALUES (?, ?)", (key, row))
        except sqlite3.IntegrityError:
            (other,) = self._database.execute("SELECT row FROM ids WHERE id = ?", (key,)).fetchone()
            raise DataError(
                f"rows {other} and {row} share the id {identity!r}; ids must be unique, because seeds and the ledger "
                "go by them"
            ) from None
