"""Verdicts that were given before, by people or by judges, looked up in a file."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from rlaif_core import Abstain, ConfigError, DataError, Failed, Outcome, Prompt, Question, Score, Verdict
from rlaif_core.errors import blame
from rlaif_core.record import rendered

Row = Mapping[str, Any]


class Recorded:
    """The verdicts in `file`: a .jsonl file, or a folder that `rlaif label` or `datasets` wrote.

    Each row has a `prompt` (a text or messages), and either `answer` and `score`, or `answers` and `scores` (lists), or
    `chosen` and `rejected`, where `probability` (1 where there is none) says how sure the preference is; `reason` or
    `reasons` where known. Texts are compared letter by letter. A pair is known in both orders; one that was not
    compared is told apart by its scores, if both are known. What is recorded more than once counts on average.
    missing: what is said of the rest, "fail" or "abstain".
    """

    def __init__(self, file: str, missing: Literal["fail", "abstain"] = "fail") -> None:
        self._missing = Failed if missing == "fail" else Abstain
        scores: dict[str, list[Outcome]] = defaultdict(list)
        pairs: dict[tuple[str, str], list[Score]] = defaultdict(list)
        for number, row in enumerate(_rows(file), 1):
            with blame(f"{file}, row {number}"):
                _take(row, scores, pairs)
        self._scores = {key: _together(its) for key, its in scores.items()}
        self._pairs = {pair: _preferred(its) for pair, its in pairs.items()}
        if not self._scores and not self._pairs:
            raise DataError(f"{file} holds no verdict; give rows with answer and score, or chosen and rejected")

    def ask(self, questions: Sequence[Question]) -> Sequence[Verdict]:
        return [Verdict(outcomes=tuple(self._said(question))) for question in questions]

    def _said(self, question: Question) -> Sequence[Outcome]:
        keys = [_key(question.prompt, answer) for answer in question.answers]
        if question.form == "compare":
            one, other = keys
            if one == other:
                return [Score(0.0, "the answers are the same text")] * 2
            if said := self._pairs.get((min(keys), max(keys))):
                value = said.value if one < other else -said.value
                return [Score(value, said.reason), Score(-value, said.reason)]
        return [self._scores.get(key) or self._missing("no verdict on this answer was recorded") for key in keys]


def _take(row: Row, scores: dict[str, list[Outcome]], pairs: dict[tuple[str, str], list[Score]]) -> None:
    """Put down what a row says: of answers by their keys, and of pairs of keys in ascending order."""
    prompt = _prompt(row)
    if "chosen" in row and "rejected" in row:
        chosen, rejected = (_key(prompt, _answer(row[name], name)) for name in ("chosen", "rejected"))
        given = row.get("probability")
        sure = _number(1.0 if given is None else given, "probability")
        if not 0 <= sure <= 1:
            raise DataError(f"probability is {sure:g}, but must be in [0, 1]")
        reason = str(row.get("reason") or f"recorded as preferred with {sure:g}")
        value = 2 * sure - 1 if chosen < rejected else 1 - 2 * sure
        pairs[min(chosen, rejected), max(chosen, rejected)].append(Score(value, reason))
    if "answers" in row and "scores" in row:
        answers, given = _list(row, "answers"), _list(row, "scores")
        reasons = list(row.get("reasons") or [""] * len(given))
        if not len(answers) == len(given) == len(reasons):
            raise DataError(f"{len(answers)} answers came with {len(given)} scores and {len(reasons)} reasons")
        for answer, score, why in zip(answers, given, reasons, strict=True):
            scores[_key(prompt, _answer(answer, "answer"))].append(_scored(score, why))
    elif "answer" in row and "score" in row:
        scores[_key(prompt, _answer(row["answer"], "answer"))].append(_scored(row["score"], row.get("reason")))
    elif "chosen" not in row or "rejected" not in row:
        raise DataError(f"it has neither answer and score nor chosen and rejected; columns: {', '.join(row)}")


def _scored(score: Any, reason: Any) -> Outcome:
    if score is None:
        return Abstain(str(reason or "recorded without a score"))
    value = _number(score, "score")
    return Score(value, str(reason or f"recorded as {value:g}"))


def _together(said: Sequence[Outcome]) -> Outcome:
    """What was said of one answer; who had no opinion does not count."""
    scores = [its for its in said if isinstance(its, Score)]
    if len(scores) < 2:
        return scores[0] if scores else said[0]
    value = fmean(its.value for its in scores)
    return Score(value, f"recorded {len(scores)} times, {value:g} on average")


def _preferred(said: Sequence[Score]) -> Score:
    """What was said of one pair, the first of its keys in sight."""
    if len(said) == 1:
        return said[0]
    value = fmean(its.value for its in said)
    return Score(value, f"recorded {len(said)} times, preferred with {(1 + abs(value)) / 2:.3g} on average")


def _rows(file: str) -> Iterator[Row]:
    path = Path(file).expanduser()
    if path.is_dir():
        from datasets import load_from_disk

        try:
            found = load_from_disk(str(path))
        except (OSError, ValueError) as error:
            raise ConfigError(f"judge recorded: {file!r} is no folder of a dataset: {error}") from error
        yield from found if not isinstance(found, dict) else (row for split in found.values() for row in split)
        return
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _object(line, f"{file}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"judge recorded: {file!r} cannot be read from {Path.cwd()}: {error}") from None


def _object(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: not valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: a row is an object, but this is {row!r:.60}")
    return row


def _prompt(row: Row) -> Prompt:
    given = row.get("prompt")
    if isinstance(given, str):
        return Prompt(id="recorded", text=given)
    if isinstance(given, Sequence) and given:
        return Prompt(id="recorded", messages=tuple(given))
    raise DataError(f"its prompt is {given!r:.60}, but must be a text or a list of messages")


def _answer(given: Any, name: str) -> str:
    if isinstance(given, Sequence) and not isinstance(given, str) and given and isinstance(given[-1], Mapping):
        given = given[-1].get("content")
    if not isinstance(given, str):
        raise DataError(f"{name} is {given!r:.60}, but must be a text, or messages that end in one")
    return given


def _list(row: Row, name: str) -> list[Any]:
    if isinstance(row[name], list | tuple):
        return list(row[name])
    raise DataError(f"{name} is {row[name]!r:.60}, but must be a list")


def _number(given: Any, name: str) -> float:
    # Python compares whole numbers of any size with infinity, but cannot make all of them floats.
    if isinstance(given, bool | int | float) and abs(given) <= sys.float_info.max:
        return float(given)
    raise DataError(f"{name} is {given!r:.60}, but must be a finite number")


def _key(prompt: Prompt, answer: str) -> str:
    said = json.dumps([rendered(prompt), answer])
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()
