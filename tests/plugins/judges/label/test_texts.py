from __future__ import annotations

from labels import ROWS, language, shares
from rlaif_core import Failed
from rlaif_judges.asking import Reply


def test_several_judges_write_rows_of_their_own(label, rows_of, principles) -> None:
    one, _ = language(shares)
    other, _ = language(lambda request: "Rude." if "critique alone" in request.messages[-1].content else "Softer.")
    options = {"constitution": principles}
    label({"one": one, "other": other}, ["critiques", "revisions"], ROWS[:1], label=options)
    rows = rows_of("revisions")
    assert [row["id"] for row in rows] == ["p0/0/one", "p0/0/other", "p0/1/one", "p0/1/other"]
    assert [row["completion"] for row in rows[:2]] == ["A kind answer.", "Softer."]
    assert [row["critique"] for row in rows_of("critiques")[:2]] == ["It is unkind.", "Rude."]


def test_one_answer_has_the_id_of_its_prompt(label, rows_of, principles) -> None:
    judge, _ = language(shares)
    rows = [{"id": "p", "prompt": "?", "completion": "no"}]
    label({"main": judge}, ["revisions"], rows, label={"constitution": principles})
    assert [row["id"] for row in rows_of("revisions")] == ["p"]


def test_critiques_alone_are_counted_and_their_failures_listed(label, rows_of, principles, tmp_path) -> None:
    judge, _ = language(lambda its: Failed("down") if "short 3\n" in its.messages[-1].content else shares(its))
    options = {"constitution": principles, "max_failed": 0.5}
    report = label({"main": judge}, ["critiques"], label=options)
    assert len(rows_of("critiques")) == 9
    assert (tmp_path / "out" / "failures.jsonl").read_text().count("down") == 1
    assert [(its["what"], its["labelled"], its["failed"]) for its in report["labels"]] == [("critiques", 9, 1)]


def test_a_text_that_the_limit_cut_off_is_marked(label, rows_of, principles) -> None:
    judge, backend = language(shares)
    original, short = backend.answer, [True]

    def answer(requests):
        for number, reply in original(requests):
            yield number, Reply(text=reply.text, tokens_in=5, tokens_out=7, cut=short[0])

    backend.answer = answer
    report = label({"main": judge}, ["revisions"], label={"constitution": principles, "max_tokens": 7})
    assert all(row["cut"] for row in rows_of("revisions"))
    assert [(its["cut"], its["tokens_in"], its["tokens_out"]) for its in report["labels"]] == [(1.0, 50, 70)] * 2
    short[0] = False
    label({"main": judge}, ["revisions"], label={"constitution": principles, "max_tokens": 8}, anew=True)
    assert not any(row["cut"] for row in rows_of("revisions"))


def test_an_empty_answer_is_nobody_s_to_revise(label, rows_of, principles) -> None:
    judge, backend = language(shares)
    rows = [{"id": "p", "prompt": "?", "answers": ["", "no"]}]
    label({"main": judge}, ["revisions"], rows, label={"constitution": principles})
    assert [row["answer"] for row in rows_of("revisions")] == ["no"]
    assert len(backend.asked) == 2
