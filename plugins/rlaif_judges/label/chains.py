"""Critique and revision in rounds: what each request is made of, and where its text is kept.

A chain is of one judge and one answer. Every text in it is a record of its own in the journal, so that no text is paid
for twice, and the first round's critique serves both who wants critiques and who wants revisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rlaif_core import Prompt
from rlaif_core.rubric import Principle
from rlaif_judges.asking import Request
from rlaif_judges.label import writing
from rlaif_judges.label.answers import Answers
from rlaif_judges.label.config import LabelTable, What
from rlaif_judges.label.journal import Journal, Key
from rlaif_judges.label.standards import Standards


@dataclass(frozen=True, slots=True)
class Piece:
    """One text of a chain: a critique, or the revision by it."""

    what: What
    judge: str
    prompt: Prompt
    place: int
    round: int

    @property
    def key(self) -> Key:
        """Under which the journal keeps it."""
        return self.what, self.judge, self.prompt.id, str(self.place), str(self.round)


class Chains:
    """The chains of a labelling, as far as they are written."""

    def __init__(self, table: LabelTable, answers: Answers, standards: Standards, journal: Journal) -> None:
        self._table, self._answers, self._standards, self._journal = table, answers, standards, journal

    def stages(self) -> Sequence[tuple[What, int]]:
        """(what, round) of everything to write, each needing those before it."""
        if "revisions" not in self._table.what:
            return [("critiques", 1)] if "critiques" in self._table.what else []
        kinds: tuple[What, What] = ("critiques", "revisions")
        return [(what, number) for number in range(1, self._table.rounds + 1) for what in kinds]

    def pieces(self, what: What, round_: int, judge: str, prompts: Iterable[Prompt]) -> Iterator[Piece]:
        """The texts of a stage that can be written: those whose chain has not broken before."""
        for prompt in prompts:
            for place in range(self._answers.count(prompt)):
                piece = Piece(what, judge, prompt, place, round_)
                if self.answer(piece).strip() and (what == "critiques" or self.text(self._critique(piece))):
                    yield piece

    def request(self, piece: Piece) -> Request | str:
        """What is asked, or why it need not be."""
        by, answer = self.principle(piece), self.answer(piece)
        options = {"max_tokens": self._table.max_tokens, "temperature": self._table.temperature}
        if piece.what == "critiques":
            return writing.critique(piece.prompt, answer, by, **options)  # type: ignore[arg-type]
        if reason := writing.unshown(answer):
            return reason
        said = self.text(self._critique(piece))
        return writing.revision(piece.prompt, answer, said, by, **options)  # type: ignore[arg-type]

    def principle(self, piece: Piece) -> Principle:
        """By what it is written."""
        return self._standards.principle(piece.prompt, piece.place, piece.round)

    def answer(self, piece: Piece) -> str:
        """The answer that it is about: the revision of the round before, or at first the given one; "" for none."""
        if piece.round == 1:
            return self._answers.of(piece.prompt)[piece.place]
        return self.text(Piece("revisions", piece.judge, piece.prompt, piece.place, piece.round - 1))

    def record(self, piece: Piece) -> dict[str, Any] | None:
        """What the journal has of it."""
        return self._journal.get(piece.key)

    def text(self, piece: Piece) -> str:
        """The text itself, "" where it was not written."""
        record = self.record(piece)
        return str(record["text"]) if record and record["state"] == "done" else ""

    def _critique(self, piece: Piece) -> Piece:
        return Piece("critiques", piece.judge, piece.prompt, piece.place, piece.round)
