"""Files of prompts: which a name means, how they are read, and what their reader met, in words that help to mend it."""

from __future__ import annotations

import csv
import errno
import json
from collections.abc import Sequence
from glob import escape, glob
from pathlib import Path
from typing import Any

from rlaif_core.errors import DataError
from rlaif_core.files import ADVICE
from rlaif_core.types import HALF_CHARACTER

KINDS = {".csv": "csv", ".parquet": "parquet", ".txt": "text", ".arrow": "arrow"}
"""What a file's ending says about how to read it; everything else is JSON."""


def kind_of(files: Sequence[str]) -> str:
    """How to read the files, by their endings, which must agree."""
    paths = [path for file in files for path in matching(file) or [Path(file)] if not path.is_dir()]
    kinds = {KINDS.get(path.suffix.lower(), "json"): path for path in paths}
    if len(kinds) > 1:
        (one, its), (other, another), *_ = kinds.items()
        raise DataError(
            f"{its} is read as {one}, but {another} as {other}; name files of one kind, or say with dataset = {one!r} "
            "that all are"
        )
    return next(iter(kinds), "json")


def where_broken(files: Sequence[str]) -> str | None:
    """The first line that cannot be read in those of `files` that are texts here; None where there is none."""
    looks = {".jsonl": _broken_json, ".json": _broken_json, ".csv": _broken_csv, ".tsv": _broken_csv}
    here = (path for file in files for path in matching(file) if path.is_file())
    found = (looks[file.suffix](file) for file in here if file.suffix in looks)
    return next((where for where in found if where), None)


def matching(file: str) -> list[Path]:
    """The paths that a pattern matches; what is none, or a file of that very name, stands for itself."""
    if "*" not in file or Path(file).is_file():
        return [Path(file)]
    return [Path(path) for path in sorted(glob(file, recursive=True))]  # noqa: PTH207 - Path.glob takes none from /


def pattern(file: str) -> str:
    """`file` for a reader to whom every name is a pattern: in that of a file, or of this folder, a [ is a letter."""
    if "://" in file:
        return file
    if (path := Path(file)).is_file():
        return escape(str(path.parent.resolve() / path.name))
    here = Path.cwd()
    while path.parts[:1] == ("..",):  # behind an escaped name it would not be understood
        here, path = here.parent, Path(*path.parts[1:])
    return str(Path(escape(str(here)), path))


def reason(error: BaseException) -> str:
    """What an exception says, and what the first of its causes says: `datasets` wraps it in one that says nothing."""
    first = error
    while first.__cause__ is not None:
        first = first.__cause__
    said = (str(each).strip() or type(each).__name__ for each in (error, first))
    return ": ".join(dict.fromkeys(said))


def cache_refused(error: BaseException | None, files: Sequence[str], caches: Sequence[str | Path]) -> str | None:
    """What to do where `error` is not about the data, but about the folders where `datasets` keeps its copies."""
    data = {path.absolute() for file in files for path in matching(file)}
    places = [Path(cache).absolute() for cache in caches]
    while error is not None:
        if isinstance(error, OSError) and isinstance(error.filename, str) and _refuses_to_write(error):
            place = Path(error.filename).absolute()
            if place not in data and any(place.is_relative_to(it) or it.is_relative_to(place) for it in places):
                return (
                    f"the cache of `datasets` cannot be written ({error.strerror}: {place}); set the environment "
                    "variable HF_HOME or HF_DATASETS_CACHE to a folder that can be"
                )
        error = error.__cause__ or error.__context__
    return None


def _refuses_to_write(error: OSError) -> bool:
    """Whether it is about writing; where a folder cannot be made it may also be missing, or no folder, half-way."""
    unmade = error.errno in (errno.ENOENT, errno.ENOTDIR) and not Path(error.filename).parent.is_dir()
    return unmade or isinstance(error, FileExistsError) or error.errno in ADVICE


def line_of(files: Sequence[str], number: int, row: Any) -> str | None:
    """ "FILE, line N" of the row that was read as the `number`-th (from 0) out of JSON-lines files; None if unknown.

    It must be the row by its texts: of a part of the files that a split names, the numbers begin elsewhere.
    """
    for path in (path for file in files for path in matching(file)):
        if path.suffix not in (".jsonl", ".json") or not path.is_file():
            return None
        with path.open("rb") as lines:
            for line, written in enumerate(lines, 1):
                if written.strip():
                    if number == 0:
                        return f"{path}, line {line}" if _is(written, row) else None
                    number -= 1
    return None


def _is(line: bytes, row: Any) -> bool:
    try:
        written = json.loads(line)
        return all(row[name] == value for name, value in written.items() if isinstance(value, str | None))
    except (ValueError, AttributeError, KeyError, TypeError):
        return False


def _broken_json(file: Path) -> str | None:
    """The first line of a JSON-lines file that does not parse or whose types differ from the first line's."""
    kinds: dict[str, str] = {}
    with file.open("rb") as lines:
        number = 0
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line.decode("utf-8"), object_pairs_hook=_once)
            except UnicodeDecodeError:
                return f"{file}, line {number}: not UTF-8; save the file in that encoding"
            except json.JSONDecodeError as error:
                return f"{file}, line {number}: not valid JSON ({error.msg}); one JSON object a line is expected"
            except DataError as error:
                return f"{file}, line {number}: {error}"
            if not isinstance(row, dict):
                return f"{file}, line {number}: a {type(row).__name__}, but one JSON object a line is expected"
            if HALF_CHARACTER.search(json.dumps(row, ensure_ascii=False)):
                return f"{file}, line {number}: half a character (a lone surrogate); mend the text"
            for key, value in row.items():
                kind = type(value).__name__
                if value is not None and kinds.setdefault(key, kind) != kind:
                    return f"{file}, line {number}: column {key!r} is a {kind} here but a {kinds[key]} above"
        if number == 0:
            return f"{file} is empty; nothing to train on"
    return None


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, unless it says something twice."""
    row: dict[str, Any] = {}
    for key, value in pairs:
        if key in row:
            raise DataError(f"the key {key!r} comes twice; keep one")
        row[key] = value
    return row


def _broken_csv(file: Path) -> str | None:
    """The first row with more fields than the header has names."""
    with file.open(encoding="utf-8", errors="replace", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t" if file.suffix == ".tsv" else ",")
        names = 0
        try:
            for row in rows:
                names = names or len(row)
                if len(row) > names:
                    return (
                        f"{file}, line {rows.line_num}: {len(row)} fields, but the header names {names} columns; "
                        "name them all, and quote what holds a separator"
                    )
        except csv.Error:  # such as a field of more than 131,072 characters, which the true reader takes
            return None
    return None
