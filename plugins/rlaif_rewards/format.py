"""Forms that an answer should keep to."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NoReturn

from rlaif_core import ConfigError, Outcome, Rollouts, Score

MOST_STARTS = 50
"""Places that are tried as the beginning of JSON that other text surrounds; each costs a parse."""
_STARTS = re.compile(r"""(?=[\[{])|```(?:json)?\s*+(?=(?:"[^`\n]*"|[^`\s\[{]+)\s*```)""")
"""Such places: a bracket, and what is behind a fence around a single word, number or string."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    r"""1 where the answer keeps to `form`, else 0, with what is wrong as the reason.

    "tags": each of `tags` once, in order, closed and not empty, as in <think>..</think><answer>..</answer>.
    "json": one JSON value (no NaN, no key twice); with `keys`, an object that has them.
    "bullets": a list, every line an item that begins with -, * or a number.
    "boxed": exactly one \boxed{..} that is not empty.
    `strict` (the default) allows nothing but blanks around tags and JSON, and no other keys; without it, other text may
    stand around tags, objects and lists, JSON of any kind in a ``` fence, and other keys are welcome.
    """

    form: Literal["tags", "json", "bullets", "boxed"] = "tags"
    tags: tuple[str, ...] = ("think", "answer")
    keys: tuple[str, ...] = ()
    strict: bool = True

    def __post_init__(self) -> None:
        if self.keys and self.form != "json":
            raise ConfigError(f"format: keys belong to form = 'json', not {self.form!r}")
        if not self.tags or len(set(self.tags)) < len(self.tags):
            raise ConfigError(f"format: tags must be different names, got {list(self.tags)}")
        for tag in self.tags:
            if not re.fullmatch(r"[A-Za-z_][\w.-]*", tag):
                raise ConfigError(f"format: {tag!r} is not a tag name; write it without < and >")

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        outcomes = []
        for completion in rollouts.completions:
            complaint = self._complaint(completion)
            outcomes.append(Score(float(not complaint), complaint or f"keeps to {self.form}"))
        return outcomes

    def _complaint(self, text: str) -> str:
        if self.form == "tags":
            return _tags(text, self.tags, self.strict)
        if self.form == "json":
            return _json(text, self.keys, self.strict)
        return _bullets(text) if self.form == "bullets" else _boxed(text)


def _tags(text: str, tags: Sequence[str], strict: bool) -> str:
    at = 0
    for tag in tags:
        opening, closing = f"<{tag}>", f"</{tag}>"
        if text.count(opening) != 1 or text.count(closing) != 1:
            return f"{opening} and {closing} must each occur once"
        start, end = text.find(opening, at), text.find(closing, at)
        if start < 0 or end < start:
            return f"{opening}..{closing} is out of order"
        if strict and text[at:start].strip():
            return f"there is text before {opening}"
        if not text[start + len(opening) : end].strip():
            return f"{opening} is empty"
        at = end + len(closing)
    return "there is text after the last tag" if strict and text[at:].strip() else ""


def _json(text: str, keys: Sequence[str], strict: bool) -> str:
    """What is wrong; without `strict`, with the first of the places where JSON might begin, if none is right."""
    text = text.strip()
    starts = [0] if strict else [found.end() for found in islice(_STARTS.finditer(text), MOST_STARTS)]
    if not starts:  # a scalar at best, which stands alone: else "3 apples" would be JSON with text behind it
        starts, strict = [0], True
    complaints = [_json_at(text, start, keys, strict) for start in starts]
    return "" if "" in complaints else complaints[0]


def _json_at(text: str, start: int, keys: Sequence[str], strict: bool) -> str:
    try:
        decoder = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_unique)
        value, end = decoder.raw_decode(text, start)
    except (ValueError, RecursionError) as error:
        return f"not JSON: {error}"
    if strict and text[end:]:
        return "there is text after the JSON"
    if keys and not isinstance(value, dict):
        return f"JSON, but not an object with {', '.join(keys)}"
    if missing := [key for key in keys if key not in value]:
        return f"the JSON lacks {', '.join(missing)}"
    if strict and keys and (other := sorted(set(value) - set(keys))):
        return f"the JSON has other keys: {', '.join(other)}"
    return ""


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key occurs twice")
    return made


def _bullets(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = next((line for line in lines if not re.match(r"([-*•]|\d+[.)])\s+\S", line)), None)
    if not lines:
        return "no list at all"
    return f"not an item: {wrong!r}" if wrong is not None else ""


def _boxed(text: str) -> str:
    _, *boxes = text.split(r"\boxed{")
    if len(boxes) != 1:
        return rf"\boxed{{..}} occurs {len(boxes)} times, not once"
    depth = 1
    for found in re.finditer(r"\\.|[{}]", boxes[0], re.DOTALL):  # \{ and \} are braces to be read, and close nothing
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if not depth:
            return "" if boxes[0][: found.start()].strip() else "the box is empty"
    return "the box is never closed"
