from __future__ import annotations

from pathlib import Path

import pytest

from rlaif_core import Prompt
from rlaif_judges.label.answers import Recorded
from rlaif_judges.label.chains import Chains, Piece
from rlaif_judges.label.config import AnswersTable, LabelTable
from rlaif_judges.label.journal import Journal
from rlaif_judges.label.standards import Standards
from rlaif_judges.label.writing import LONGEST

PROMPT = Prompt(id="p", text="?", meta={"answers": ["first", "x" * (LONGEST + 1)]})
ASKED = (("critiques", "main"), 0.0)


@pytest.fixture
def chains(tmp_path: Path):
    (tmp_path / "c.md").write_text("- Be kind.\n")
    with Journal(tmp_path) as journal:

        def make(what=("revisions",), rounds=2) -> tuple[Chains, Journal]:
            table = LabelTable(what=list(what), rounds=rounds, constitution=str(tmp_path / "c.md"))
            return Chains(table, Recorded(AnswersTable(), [PROMPT]), Standards(table), journal), journal

        yield make


def piece(what: str, round_: int, place: int = 0) -> Piece:
    return Piece(what, "main", PROMPT, place, round_)


def test_what_is_written_and_in_which_order(chains) -> None:
    both = [("critiques", 1), ("revisions", 1), ("critiques", 2), ("revisions", 2)]
    assert chains()[0].stages() == both
    assert chains(["critiques", "revisions"], rounds=1)[0].stages() == both[:2]
    assert chains(["critiques"], rounds=1)[0].stages() == both[:1]
    assert chains(["scores"])[0].stages() == []


def test_a_text_is_asked_for_only_where_what_it_is_about_was_written(chains) -> None:
    its, journal = chains()

    def ready(what: str, round_: int) -> list[int]:
        return [one.place for one in its.pieces(what, round_, "main", [PROMPT])]

    assert ready("critiques", 1) == [0, 1]
    assert ready("revisions", 1) == []
    journal.append([(piece("critiques", 1).key, "done", {"text": "curt"})], ASKED)
    journal.append([(piece("critiques", 1, 1).key, "failed", {"reason": "down"})], ASKED)
    assert ready("revisions", 1) == [0]
    assert ready("critiques", 2) == []
    journal.append([(piece("revisions", 1).key, "done", {"text": "second"})], ASKED)
    assert ready("critiques", 2) == [0]
    assert its.answer(piece("critiques", 2)) == "second"
    assert "second" in its.request(piece("critiques", 2)).messages[-1].content


def test_an_answer_that_cannot_be_shown_whole_is_criticised_and_not_rewritten(chains) -> None:
    its, journal = chains()
    journal.append([(piece("critiques", 1, 1).key, "done", {"text": "long"})], ASKED)
    assert "are left out here" in its.request(piece("critiques", 1, 1)).messages[-1].content
    assert "more than the" in its.request(piece("revisions", 1, 1))
