"""An SQLite file that many threads and processes write at once, and what its refusals mean in words.

Transactions are short and commit to the write-ahead log: what is committed outlives a kill -9 at any moment, and after
a power cut the file is whole, if perhaps without the last commits. Each process has one connection, used in turn; it is
closed before a fork, as SQLite must not find in a child the locks of its parent.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from rlaif_core import RlaifError
from rlaif_core.errors import all_of
from rlaif_core.files import writing

PATIENCE = 60.0
"""Seconds to wait for another process that writes."""
APPLICATION = 0x726C6169
"""Marks a file as ours ("rlai" in ASCII)."""
REMOTE = frozenset("nfs nfs4 cifs smb3 smbfs afs lustre gpfs beegfs ceph fuse.sshfs fuse.glusterfs".split())
"""File systems on which machines do not see each other's shared memory, which the write-ahead log needs."""

ADVICE = {
    sqlite3.SQLITE_FULL: "what was kept before is intact; free some space",
    sqlite3.SQLITE_IOERR: "what was kept before is intact; see whether the disk is full or `ulimit -f` too low for it",
    sqlite3.SQLITE_READONLY: "it is read-only: mend its mode or its folder's",
    sqlite3.SQLITE_CANTOPEN: "it, or what SQLite puts beside it, cannot be opened: mend the folder's owner or mode",
    sqlite3.SQLITE_NOTADB: "it is no file of this kind: move it away",
    sqlite3.SQLITE_CORRUPT: "it is damaged: move it away",
    sqlite3.SQLITE_BUSY: f"another process has kept it locked for {PATIENCE:.0f} s: end that one",
    sqlite3.SQLITE_LOCKED: f"another process has kept it locked for {PATIENCE:.0f} s: end that one",
    sqlite3.SQLITE_PROTOCOL: "its file system has no proper locks: keep it on a local disk",
}


class Database:
    """One file with the tables that `schema` makes, of a `version`.

    The file is made with its folder where it is missing, unless `existing`; only its owner may read it.
    """

    def __init__(self, path: Path, schema: Sequence[str], version: int, *, existing: bool = False) -> None:
        self.path = path
        self._schema = schema
        self._version = version
        self._existing = existing
        self.turn = threading.RLock()
        self._open: list[sqlite3.Connection] = []
        weakref.finalize(self, _close, self._open)
        with _fork:
            _files.add(self)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes: all of it or, where the block raises, nothing."""
        with self._using() as connection:
            try:
                self._patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite may have taken it back already
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The file as it is now, to look at; statements one by one."""
        with self._using() as connection:
            yield connection

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self.turn:
            _close(self._open)

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self.turn, self._explained():
            if not self._open:
                self._open.append(self._connected())
            if self._open[0].in_transaction:  # Ctrl-C came between two lines of `writing`
                self._open[0].execute("ROLLBACK")
            yield self._open[0]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code is None or code & 0xFF not in ADVICE:
                raise
            raise self._refusal(str(error), ADVICE[code & 0xFF]) from error

    def _refusal(self, what: str, advice: str) -> RlaifError:
        return RlaifError(
            f"cannot use the judges' cache {self.path} ({what}); {advice}, "
            "or name another file by the judge's option cache or by RLAIF_CACHE"
        )

    def _patiently(self, work: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        """SQLite does not wait in all places in which another process may be in the way."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                if not busy or time.monotonic() > end:
                    raise
                time.sleep(0.005)

    def _connected(self) -> sqlite3.Connection:
        self._insist_usable(self.path)
        connection = sqlite3.connect(self.path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _insist_usable(self, path: Path) -> None:
        with writing(path):
            if self._existing and not path.exists():
                raise RlaifError(f"there is no {path}; judges make it with their first call, where their cache says")
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if (kind := _file_system(path.parent)) in REMOTE:
                raise self._refusal(f"it lies on a network ({kind})", "keep it on a local disk")
            if not path.exists():
                # An existing one is opened by SQLite alone: closing it here would drop the locks of this process.
                with suppress(FileExistsError):
                    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if not self._ours(connection):
            (mode,) = self._patiently(lambda: connection.execute("PRAGMA journal_mode = WAL")).fetchone()
            if mode != "wal":
                raise self._refusal(f"SQLite keeps to journal mode {mode}", "keep it on a local disk")
            self._patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
            if not self._ours(connection):  # nobody was quicker
                for statement in self._schema:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {self._version}")
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute("COMMIT")
        connection.execute("PRAGMA synchronous = NORMAL")

    def _ours(self, connection: sqlite3.Connection) -> bool:
        """Whether the tables are there; False where the file is empty. Anything else is refused."""
        # In this order: another process may make the tables between two looks, all of a sudden.
        filled = self._told(connection, "SELECT count(*) FROM sqlite_master")
        mark = self._told(connection, "PRAGMA application_id")
        version = self._told(connection, "PRAGMA user_version")
        if mark == APPLICATION and version != self._version:
            raise self._refusal(f"it is of version {version}, this rlaif reads {self._version}", "move it away")
        if mark != APPLICATION and (mark or filled):
            raise self._refusal("it is a database of something else", "leave it alone")
        return mark == APPLICATION

    def _told(self, connection: sqlite3.Connection, statement: str) -> int:
        return int(self._patiently(lambda: connection.execute(statement)).fetchone()[0])


def _close(connections: list[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()


def _file_system(folder: Path) -> str:
    """The kind of file system on which a folder lies, where the system tells (Linux), else ""."""
    mounts, place = Path("/proc/self/mounts"), str(folder.resolve())
    if not mounts.exists():
        return ""
    kinds = {}
    for line in mounts.read_text(errors="replace").splitlines():
        _, where, kind, *_ = line.split(" ")
        kinds[where.replace("\\040", " ")] = kind  # of two at one place the later one hides the other
    above = [where for where in kinds if place == where or place.startswith(where.rstrip("/") + "/")]
    return kinds[max(above, key=len)] if above else ""


_files: weakref.WeakSet[Database] = weakref.WeakSet()
_forking: list[Database] = []
_fork = threading.RLock()


def _before_fork() -> None:
    _fork.acquire()
    _forking.extend(_files)
    for file in _forking:
        file.turn.acquire()  # whoever is at work finishes first
    all_of(None, *(file.close for file in _forking))


def _after_fork() -> None:
    while _forking:
        _forking.pop().turn.release()
    _fork.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
