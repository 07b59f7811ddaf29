"""Files are whole or absent, and a refusal of the disk says what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlaif_core import files
from rlaif_core.errors import RlaifError
from rlaif_core.files import replace_folder, sha256, write_bytes, writing


def test_a_file_is_replaced(tmp_path: Path) -> None:
    for data in (b"first", memoryview(b"second")):
        write_bytes(tmp_path / "state.json", data)
        assert (tmp_path / "state.json").read_bytes() == bytes(data)
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk quota is full"),
        (errno.EFBIG, "raise the limit"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "permission is denied"),
        (errno.EIO, "look at the folder"),
    ],
)
def test_a_refused_write_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    def refuse(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "state.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(RlaifError, match=advice) as caught:
        write_bytes(path, b"new")
    assert str(path) in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


def test_an_error_without_a_number_is_told_as_it_is() -> None:
    with pytest.raises(RlaifError, match=r"cannot write x \(odd\); .* look at the folder"), writing(Path("x")):
        raise OSError("odd")


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("first", "second"):
        aside = tmp_path / ".step.tmp"
        (aside / "deep").mkdir(parents=True)
        (aside / "deep" / "file").write_text(text)
        replace_folder(aside, tmp_path / "step")
        assert (tmp_path / "step" / "deep" / "file").read_text() == text
        assert [path.name for path in tmp_path.iterdir()] == ["step"]
    assert sha256(tmp_path / "step" / "deep" / "file") == (
        "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4"
    )


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "file").write_text("old")
    with pytest.raises(RlaifError, match=r"cannot write .*step"):
        replace_folder(tmp_path / "missing", tmp_path / "step")
    assert [path.name for path in tmp_path.iterdir()] == ["step"]


FORKING = """
import os, sys, time
from pathlib import Path
from rlaif_core.files import claimed

with claimed(Path(sys.argv[1])):
    if os.fork() == 0:
        os.write(1, b"child\\n")  # one write: two prints at a time may mix their lines
        time.sleep(60)
        os._exit(0)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), 9)
with claimed(Path(sys.argv[1])):
    os.write(1, b"again\\n")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("end", ["killed", "done"])
def test_a_claim_ends_with_the_process_that_made_it(end: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKING, str(tmp_path), end]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            said = {process.stdout.readline().strip() for _ in range(2 if end == "done" else 1)}
            assert process.wait(30) == (0 if end == "done" else -9)
            assert said == ({"child", "again"} if end == "done" else {"child"})
            with files.claimed(tmp_path):
                pass
        finally:
            os.killpg(process.pid, 9)  # the child, which is still there


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    with files.claimed(tmp_path):
        with pytest.raises(RlaifError, match="is in use by another process"), files.claimed(tmp_path):
            pass
        other = tmp_path / "other"
        other.mkdir()
        with files.claimed(other):
            pass
    with files.claimed(tmp_path):
        pass


def test_where_there_are_no_locks_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "fcntl", None)
    with files.claimed(tmp_path), files.claimed(tmp_path):
        pass
