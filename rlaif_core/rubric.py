"""What a judge is told to judge by: rubrics of named criteria with levels, and constitutions of principles.

Both are given as a text, or as the path of a file that ends in .md, .toml or (a constitution) .jsonl or .json.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from rlaif_core.errors import ConfigError

FILES = (".md", ".toml", ".jsonl", ".json", ".txt")
_HEADING = re.compile(
    r"^##\s+(?P<name>.+?)(?:\s*\(\s*weight\b[\s:=]*(?P<weight>[^)]*?)\s*\))?\s*$", re.MULTILINE | re.IGNORECASE
)
_LEVEL = re.compile(r"^(\d{1,3})[.):]\s+(.+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One thing to judge an answer by; `levels` say what it may reach, the worst first (none: as the judge likes)."""

    text: str
    name: str = ""
    levels: tuple[str, ...] = ()
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Principle:
    """A sentence of a constitution, to compare answers by; `critique` and `revision` ask for those in its spirit.

    Either the sentence or the critique may be missing.
    """

    text: str = ""
    name: str = ""
    critique: str = ""
    revision: str = ""


def load_rubric(given: str) -> tuple[Criterion, ...]:
    """The criteria of a rubric: none of an empty text; one of a text or a file without headings; of a .md file one for
    each `## Name` or `## Name (weight 2)`, a numbered list at its end being the levels, worst first; of a .toml file
    one for each `[[criteria]]` with text, and name, levels, weight where wanted."""
    if not given.strip():
        return ()
    if not _is_file(given):
        return (Criterion(text=given.strip()),)
    text = _read(given, "rubric")
    criteria = tuple(_of_toml(text, given) if given.endswith(".toml") else _of_markdown(text, given))
    names = [criterion.name for criterion in criteria]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"rubric {given!r}: two criteria are called {twice[0]!r}; name them apart")
    for criterion in criteria:
        what = f"rubric {given!r}: criterion {criterion.name!r}"
        if not criterion.text.strip():
            raise ConfigError(f"{what} has no text; say what to judge by")
        if len(criterion.levels) == 1 or len(criterion.levels) > 9:
            raise ConfigError(f"{what} has {len(criterion.levels)} levels, but must have 2 to 9, or none")
        if not 0 < criterion.weight < float("inf"):
            raise ConfigError(f"{what} has weight {criterion.weight}, but must have one above 0")
    return criteria


def _of_markdown(text: str, path: str) -> Iterator[Criterion]:
    headings = list(_HEADING.finditer(text))
    if not headings:
        body, levels = _levels(text)
        yield Criterion(text=body, levels=levels)
        return
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        body, levels = _levels(text[heading.end() : following.start() if following else len(text)])
        yield Criterion(name=heading["name"].strip(), text=body, levels=levels, weight=_weight(heading, path))


def _weight(heading: re.Match[str], path: str) -> float:
    written = heading["weight"]
    if written is None:
        return 1.0
    if not re.fullmatch(r"\d+(\.\d*)?|\.\d+", written):
        raise ConfigError(
            f"rubric {path!r}: criterion {heading['name'].strip()!r}: weight is {written!r}, but must be a number "
            "above 0: `## Name (weight 2)`"
        )
    return float(written)


def _levels(text: str) -> tuple[str, tuple[str, ...]]:
    """A text and the list numbered from 1 that it ends in; no levels where it does not."""
    lines = text.strip().split("\n")
    found = [_LEVEL.match(line.strip()) for line in lines]
    count = next((n for n, match in enumerate(reversed(found)) if not match), len(found))
    tail = [match for match in found[len(found) - count :] if match]
    if count < 2 or [int(match[1]) for match in tail] != list(range(1, count + 1)):
        return text.strip(), ()
    return "\n".join(lines[: len(lines) - count]).strip(), tuple(match[2].strip() for match in tail)


def _of_toml(text: str, path: str) -> Iterator[Criterion]:
    for table in _tables(text, path, "criteria"):
        if unknown := set(table) - {"name", "text", "levels", "weight"}:
            raise ConfigError(f"rubric {path!r}: a criterion has no key {min(unknown)!r}; name, text, levels, weight")
        levels = table.get("levels", [])
        if not isinstance(levels, list) or not all(isinstance(level, str) for level in levels):
            raise ConfigError(f"rubric {path!r}: levels is {levels!r}, but must be a list of texts")
        weight = table.get("weight", 1.0)
        if not isinstance(weight, int | float) or isinstance(weight, bool):
            raise ConfigError(f"rubric {path!r}: weight is {weight!r}, but must be a number")
        yield Criterion(
            name=str(table.get("name", "")), text=str(table.get("text", "")), levels=tuple(levels), weight=float(weight)
        )


class Constitution:
    """Principles, of which each judgement draws some (Bai et al. 2022, Constitutional AI)."""

    def __init__(self, principles: Sequence[Principle], where: str = "constitution") -> None:
        if not principles:
            raise ConfigError(f"{where} has no principles; write at least one")
        self.principles = tuple(principles)

    @classmethod
    def load(cls, path: str) -> Constitution:
        """From .toml (`[[principles]]` with text, and name, critique, revision), .jsonl or .json (objects with the same
        keys; also `principle`, `critique_request`, `revision_request`), or .md and .txt (a list, or a line each)."""
        text, where = _read(path, "constitution"), f"constitution {path!r}"
        if path.endswith(".toml"):
            rows: Sequence[Mapping[str, Any]] = list(_tables(text, path, "principles"))
        elif path.endswith((".jsonl", ".json")):
            rows = list(_objects(text, path))
        else:
            lines = (re.sub(r"^\s*(?:[-*+]|\d+[.)])\s+", "", line).strip() for line in text.split("\n"))
            rows = [{"text": line} for line in lines if line and not line.startswith("#")]
        return cls([_principle(row, f"{where}, principle {number}") for number, row in enumerate(rows, 1)], where)

    def draw(self, key: str, count: int = 1, *, revising: bool = False) -> list[Principle]:
        """`count` different principles (all, if there are no more) that depend on the key alone.

        To judge by, or for `revising` answers: where some were written for that and others were not, only the former.
        """
        fitting = [its for its in self.principles if (its.critique if revising else its.text)] or self.principles
        return Random(f"constitution/{key}").sample(fitting, min(count, len(fitting)))


def _principle(row: Mapping[str, Any], where: str) -> Principle:
    def text_of(*names: str) -> str:
        found = next((row[name] for name in names if row.get(name)), "")
        if not isinstance(found, str):
            raise ConfigError(f"{where}: {names[0]} is {found!r:.60}, but must be a text")
        return found.strip()

    critique, revision = text_of("critique", "critique_request"), text_of("revision", "revision_request")
    text = text_of("text", "principle")
    if not text and not critique:
        raise ConfigError(f"{where} says nothing; give it a text")
    return Principle(text=text, name=text_of("name", "id"), critique=critique, revision=revision)


def _is_file(given: str) -> bool:
    return "\n" not in given and given.endswith(FILES)


def _read(path: str, what: str) -> str:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path!r} cannot be read from {Path.cwd()}: {error}") from None
    if not text:
        raise ConfigError(f"{what} {path!r} is empty")
    return text


def _tables(text: str, path: str, name: str) -> Iterator[Mapping[str, Any]]:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    tables = found.get(name)
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{path}: it has no [[{name}]] tables; write one for each")
    yield from tables


def _objects(text: str, path: str) -> Iterator[Mapping[str, Any]]:
    whole = path.endswith(".json")
    for number, line in enumerate([text] if whole else text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: not valid JSON: {error}") from None
        for item in found if whole and isinstance(found, list) else [found]:
            if not isinstance(item, dict):
                raise ConfigError(f"{path}, line {number}: a principle is an object, but this is {item!r:.60}")
            yield item
