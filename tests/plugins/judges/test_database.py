from __future__ import annotations

import re
import resource
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from rlaif_core import RlaifError
from rlaif_judges.economy import database
from rlaif_judges.economy.database import Database

SCHEMA = ("CREATE TABLE words (word TEXT NOT NULL)",)


def opened(path: Path, version: int = 1) -> Database:
    return Database(path, SCHEMA, version)


def add(file: Database, word: str | None) -> None:
    with file.writing() as connection:
        connection.execute("INSERT INTO words VALUES (?)", (word,))


def words(file: Database) -> list[str]:
    with file.reading() as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words")]


def test_what_was_written_is_read_by_others(tmp_path: Path) -> None:
    add(opened(tmp_path / "a" / "b" / "file"), "one")
    assert words(opened(tmp_path / "a" / "b" / "file")) == ["one"]


def test_only_its_owner_may_read_it_and_what_lies_beside_it(tmp_path: Path) -> None:
    file = opened(tmp_path / "folder" / "file")
    add(file, "one")
    modes = {its.name: stat.S_IMODE(its.stat().st_mode) for its in (tmp_path / "folder").iterdir()}
    assert modes == dict.fromkeys(("file", "file-wal", "file-shm"), 0o600)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
    file.close()


def test_a_transaction_that_raises_leaves_nothing(tmp_path: Path) -> None:
    file = opened(tmp_path / "file")

    def half() -> None:
        with file.writing() as connection:
            connection.execute("INSERT INTO words VALUES ('half')")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    with pytest.raises(sqlite3.IntegrityError):
        add(file, None)
    add(file, "one")
    assert words(file) == ["one"]


def test_a_transaction_that_was_left_open_by_an_interruption_is_taken_back(tmp_path: Path) -> None:
    file = opened(tmp_path / "file")
    with file.reading() as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO words VALUES ('half')")
    add(file, "one")
    assert words(file) == ["one"]


def test_threads_take_turns(tmp_path: Path) -> None:
    file = opened(tmp_path / "file")
    threads = [threading.Thread(target=lambda: [add(file, "x") for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(words(file)) == 200


def test_an_empty_file_is_made_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    add(opened(tmp_path / "file"), "one")


def test_a_file_that_appears_just_before_it_is_made_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(opened(tmp_path / "file"), "theirs")
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert words(opened(tmp_path / "file")) == ["theirs"]


class Slow(Database):
    """Has the file made by another process between its first look and the next."""

    looked = False

    def _told(self, connection: sqlite3.Connection, statement: str) -> int:
        seen = super()._told(connection, statement)
        if not self.looked:
            self.looked = True
            add(opened(self.path), "theirs")
        return seen


def test_another_process_may_make_the_file_at_the_same_time(tmp_path: Path) -> None:
    file = Slow(tmp_path / "file", SCHEMA, 1)
    add(file, "ours")
    assert words(file) == ["theirs", "ours"]


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()


def damaged(path: Path) -> None:
    file = opened(path)
    for number in range(2000):
        with file.writing() as connection:
            connection.execute("INSERT INTO words VALUES (?)", (f"{number} " * 20,))
    file.close()
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (
            lambda path: path.write_bytes(b"no database at all, but a letter " * 200),
            "file is not a database.*move it away",
        ),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(50)), "move it away|is not a database"),
        (damaged, "malformed.*it is damaged: move it away, or name another file by the judge's option cache"),
        (foreign, "it is a database of something else.*leave it alone"),
        (lambda path: add(opened(path, version=2), "x"), "it is of version 2, this rlaif reads 1"),
        (lambda path: path.mkdir(), "unable to open database file"),
    ],
)
def test_what_is_no_file_of_ours_is_refused_and_left_as_it_was(tmp_path: Path, spoil, complaint: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "file"
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(RlaifError, match=complaint) as caught:
        words(opened(path))
    assert str(path) in str(caught.value)
    assert before == (path.read_bytes() if path.is_file() else b"")


def test_one_that_must_be_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(RlaifError, match="there is no"):
        words(Database(tmp_path / "file", SCHEMA, 1, existing=True))
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("folder", ["/proc", "/dev/null"])
def test_a_folder_that_takes_no_file_is_named(folder: str) -> None:
    if not Path(folder).exists():
        pytest.skip(f"no {folder} here")
    with pytest.raises(RlaifError, match=f"cannot write {folder}/file"):
        words(opened(Path(folder, "file")))


WRITE = """
import sys
from pathlib import Path
from rlaif_core import RlaifError
from rlaif_judges.economy.database import Database
file = Database(Path(sys.argv[1]), ["CREATE TABLE words (word TEXT NOT NULL)"], 1)
try:
    with file.writing() as connection:
        connection.execute("INSERT INTO words VALUES ('more')")
except RlaifError as error:
    print(error)
"""
AS_NOBODY = """
import os
if os.geteuid() == 0:
    os.setuid(65534)  # modes of files do not hold root back
"""


@pytest.mark.parametrize(
    ("mode", "complaint"),
    [
        (0o555, "cannot use the judges' cache .*(readonly database|unable to open)"),
        (0o000, "cannot write .*[Pp]ermission denied"),
    ],
)
def test_a_folder_that_may_not_be_written_is_told(mode: int, complaint: str) -> None:
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        folder = Path(above, "folder")
        add(opened(folder / "file"), "one")
        (folder / "file").chmod(0o444)
        folder.chmod(mode)
        command = [
            sys.executable,
            "-W",
            "error",
            "-c",
            WRITE.replace("file =", AS_NOBODY + "file =", 1),
            str(folder / "file"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        folder.chmod(0o755)
        assert done.returncode == 0, done.stderr
        assert re.search(complaint, done.stdout), done.stdout
        assert words(opened(folder / "file")) == ["one"]


def test_a_full_disk_is_told_and_takes_nothing_along(tmp_path: Path) -> None:
    file = opened(tmp_path / "file")
    add(file, "one")
    with file.reading() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(RlaifError, match=r"disk is full.*what was kept before is intact; free some space"):
        add(file, "x" * 100_000)
    assert words(file) == ["one"]


def test_a_limit_on_the_size_of_files_is_told_and_takes_nothing_along(tmp_path: Path) -> None:
    file = opened(tmp_path / "file")
    add(file, "one")
    program = WRITE.replace("'more'", "hex(zeroblob(1000000))")
    limits = (300_000, 300_000)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "file")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "what was kept before is intact" in done.stdout, done.stderr
    assert words(file) == ["one"]


def test_another_that_writes_for_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    one, other = opened(tmp_path / "file"), opened(tmp_path / "file")
    words(one)
    with other.reading() as connection:
        connection.execute("PRAGMA busy_timeout = 10")
    with (
        one.writing(),
        pytest.raises(RlaifError, match="another process has kept it locked for"),
        other.writing(),
    ):
        pass
    add(other, "then")
    assert words(one) == ["then"]


def test_a_network_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_file_system", lambda folder: "nfs4")
    with pytest.raises(RlaifError, match=r"it lies on a network \(nfs4\).*keep it on a local disk"):
        words(opened(tmp_path / "file"))


def test_the_kind_of_a_file_system_is_that_of_the_nearest_mount() -> None:
    if not Path("/proc/self/mounts").exists():
        pytest.skip("only Linux tells")
    assert database._file_system(Path("/proc/self")) == "proc"
    assert database._file_system(Path("/")) != "proc"
