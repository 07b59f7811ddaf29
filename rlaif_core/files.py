"""Files that are whole or absent: written aside, forced to the disk, then renamed into place.

A run may be killed, and the disk may fill, at any moment. What was there before stays until what replaces it is safe,
and a refusal of the disk says which file it is about and what to do.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlaif_core.errors import RlaifError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ASIDE = ".tmp"
"""How the name of an unfinished file or folder ends; one left behind by a kill may be deleted."""

FULL = "the disk is full: free some space and `rlaif resume` the run"
READ_ONLY = "the file system is read-only: make it writable and `rlaif resume` the run, or start anew with --out"
NOT_OURS = "permission is denied: mend the folder's owner or mode and `rlaif resume` the run, or start anew with --out"
ADVICE = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL.replace("disk", "disk quota"),
    errno.EFBIG: "the file would be larger than this file system or `ulimit -f` allows: raise the limit",
    errno.EROFS: READ_ONLY,
    errno.EACCES: NOT_OURS,
    errno.EPERM: NOT_OURS,
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write `path` into a `RlaifError` that says what to do about it."""
    try:
        yield
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "look at the folder, mend it and `rlaif resume` the run")
        reason = error.strerror or str(error)
        raise RlaifError(f"cannot write {path} ({reason}); what was saved before is intact; {advice}") from error


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Let no other process that asks for the same folder in. The claim ends with the process, however it ends.

    Where a file system or platform has no locks nothing is claimed.
    """
    handle = _locked(folder)
    try:
        yield
    finally:
        if handle is not None and handle in _claims:  # a forked child has let go already
            _claims.remove(handle)
            fcntl.flock(handle, fcntl.LOCK_UN)  # for forked children, too
            os.close(handle)


def _locked(folder: Path) -> int | None:
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise RlaifError(
                f"{folder} is in use by another process; wait until it has finished, or stop it first"
            ) from None
        return None
    _claims.add(handle)
    return handle


_claims: set[int] = set()


def _let_go() -> None:
    """In a forked child: what outlives its parent must not hold on to a folder in the parent's name."""
    for handle in _claims:
        os.close(handle)
    _claims.clear()


if fcntl is not None:
    os.register_at_fork(after_in_child=_let_go)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Replace `path` by `data`, or leave it as it was; once this returns the data survives a power cut."""
    aside = path.with_name(f".{path.name}.{os.getpid()}{ASIDE}")
    with writing(path):
        try:
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
        sync(path.parent)


def replace_folder(aside: Path, final: Path) -> None:
    """Force everything below `aside` to the disk, then rename the folder to `final`, replacing an older one.

    Both must share a file system. A kill between the two renames leaves the older folder as `.NAME.old`.
    """
    old = final.with_name(f".{final.name}.old")
    with writing(final):
        for folder, _, names in os.walk(aside, topdown=False):
            for name in names:
                sync(Path(folder, name))
            sync(Path(folder))
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
            final.rename(old)
        try:
            aside.rename(final)
        except OSError:
            if old.exists():
                old.rename(final)
            raise
        sync(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def sync(path: Path) -> None:
    """Force a file's content, or a folder's names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
