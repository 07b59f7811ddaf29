"""Critiques and revisions as rows: one for each answer and judge whose texts were all written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rlaif_judges.label.chains import Piece
from rlaif_judges.label.results import listed
from rlaif_judges.label.standards import spoken

if TYPE_CHECKING:
    from rlaif_judges.label.rows import Row, Rows

Written = list[tuple[Piece, dict[str, Any]]]


def critiques(rows: Rows) -> Iterator[Row]:
    """The first critique of every answer, each with its principle."""
    for answer, written in _chains(rows, counted="revisions" not in rows.label.what):
        piece, record = written[0]
        if record["state"] == "done":
            by = rows.chains.principle(piece)
            row = rows.row(piece.prompt, _behind(rows, piece), piece.judge, record["cost"])
            yield row | {"answer": answer, "critique": record["text"], "principle": spoken(by), "name": by.name}


def revisions(rows: Rows) -> Iterator[Row]:
    """The last revision of every answer, with all that led to it; none of a chain that broke."""
    for answer, written in _chains(rows, counted=True):
        piece, last = written[-1]
        if len(written) < len(rows.chains.stages()) or last["state"] != "done":
            continue
        chain = []
        for (_, critique), (at, revision) in zip(written[::2], written[1::2], strict=True):
            by = rows.chains.principle(at)
            texts = {"critique": critique["text"], "revision": revision["text"]}
            chain.append({"name": by.name, "principle": spoken(by), **texts})
        row = rows.row(piece.prompt, _behind(rows, piece), piece.judge, sum(record["cost"] for _, record in written))
        row |= {"answer": answer, "completion": rows.answer(last["text"]), "chain": chain}
        yield row | {"cut": bool(last["cut"])}


def _chains(rows: Rows, *, counted: bool) -> Iterator[tuple[str, Written]]:
    """Every answer with what was written about it, as far as it goes."""
    for prompt in rows.prompts:
        for place, answer in enumerate(rows.questions.answers.of(prompt)):
            for judge in rows.judges if answer.strip() else ():
                written = _written(rows, judge, Piece("critiques", judge, prompt, place, 1))
                for piece, record in written if counted else ():
                    rows.results.wrote(piece.what, judge, record)
                    if record["state"] != "done":
                        rows.lost(listed(piece.what, judge, prompt, (place,), record))
                if written:
                    yield answer, written


def _written(rows: Rows, judge: str, first: Piece) -> Written:
    found: Written = []
    for what, number in rows.chains.stages():
        piece = Piece(what, judge, first.prompt, first.place, number)
        record = rows.chains.record(piece)
        if record is None:
            break
        found.append((piece, record))
        if record["state"] != "done":
            break
    return found


def _behind(rows: Rows, piece: Piece) -> tuple[int | str, ...]:
    """What tells rows of one prompt apart: the answer, and the judge where there are several."""
    several = rows.questions.answers.count(piece.prompt) > 1
    return (*((piece.place,) if several else ()), *((piece.judge,) if len(rows.judges) > 1 else ()))
