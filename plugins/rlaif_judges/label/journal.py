"""The journal of a labelling: one JSON line for everything that was said, on the disk before more is asked.

It is what is paid for, and what a later call goes on from. Killing the process tears at most the last lines; what is
whole stays. In memory are the keys alone; a record is read from the file when it is wanted.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

from rlaif_core import DataError
from rlaif_core.files import writing

FILE = "journal.jsonl"
State = Literal["done", "abstained", "spent", "failed"]
Key = tuple[str, ...]


class Journal:
    """Records by key, the last one of a key counting; opened to be read and gone on with."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._places: dict[Key, int] = {}  # where the line of a key begins
        self._open: set[Key] = set()
        self.seconds: defaultdict[Key, float] = defaultdict(float)  # of asking, by what and judge
        with writing(self.path):
            self._file: BinaryIO = self.path.open("a+b")
            try:
                self._end = self._read()
                self._file.truncate(self._end)
            except BaseException:
                self._file.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def settled(self, key: Key) -> bool:
        """Whether there is a record that stands: what failed, or was not to be paid for, is asked by a later call."""
        return key in self._places and key not in self._open

    def get(self, key: Key) -> dict[str, Any] | None:
        """The record of a key."""
        if key not in self._places:
            return None
        self._file.seek(self._places[key])
        record: dict[str, Any] = json.loads(self._file.readline())
        return record

    def append(self, records: Sequence[tuple[Key, State, Mapping[str, Any]]], seconds: tuple[Key, float]) -> None:
        """Write records (key, state, anything that JSON holds) and what they took; they are safe once this returns."""
        lines, end = [], self._end
        for key, state, said in records:
            lines.append(_line({"key": key, "state": state, **said}))
        lines.append(_line({"asked": seconds[0], "seconds": round(seconds[1], 4)}))
        with writing(self.path):
            self._file.seek(0, os.SEEK_END)
            self._file.write(b"".join(lines))
            self._file.flush()
            os.fsync(self._file.fileno())
        for (key, state, _), line in zip(records, lines, strict=False):
            self._take(key, state, end)
            end += len(line)
        self._end = end + len(lines[-1])
        self.seconds[seconds[0]] += seconds[1]

    def _take(self, key: Key, state: State, place: int) -> None:
        self._places[key] = place
        (self._open.add if state in ("failed", "spent") else self._open.discard)(key)

    def _read(self) -> int:
        """Take in what is there; returns where the whole lines end."""
        self._file.seek(0)
        place = whole = 0
        damaged = 0
        for number, line in enumerate(self._file, 1):
            read = _parsed(line)
            if read is None:
                damaged = damaged or number
            elif damaged:
                raise DataError(
                    f"{self.path}, line {damaged} is damaged; restore the file, or delete that line to pay for it again"
                )
            else:
                if "key" in read:
                    self._take(tuple(read["key"]), read["state"], place)
                else:
                    self.seconds[tuple(read["asked"])] += read["seconds"]
                whole = place + len(line)
            place += len(line)
        return whole


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        read = json.loads(line)
        fine = isinstance(read, dict) and ("state" in read if "key" in read else "seconds" in read)
    except ValueError:
        return None
    return read if fine and line.endswith(b"\n") else None


def _line(record: Mapping[str, Any]) -> bytes:
    # ASCII: a judge's text may hold half a character, which UTF-8 cannot.
    return json.dumps(record, ensure_ascii=True, allow_nan=False).encode() + b"\n"
