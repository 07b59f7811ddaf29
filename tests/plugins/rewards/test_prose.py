from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_rewards.prose import CODE, LONGEST, MOST, paragraphs, prose, sentences, spelled


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Use `x = 1` here.", f"Use {CODE} here."),
        ("See https://a.example/b?c or www.a.example.", f"See {CODE} or {CODE}"),
        ("Mail to a.b@c.example now.", f"Mail to {CODE} now."),
        ("It costs $5 and $6.", "It costs $5 and $6."),
        ("Where $x_i$ is \\(y\\).", f"Where {CODE} is {CODE}."),
        ("Open /usr/bin/env or main.py.", f"Open {CODE} or {CODE}."),
        ("With snake_case, camelCase, x2.", f"With {CODE}, {CODE}, {CODE}."),
        ("a\n```py\nb\n```\nc", "a\n\n\n\nc"),
        ("a\n```py\nb", "a"),
        ("a\n| b | c |\nd", "a\n\n\nd"),
        ("a $$b$$ c", "a\n\nc"),
        ("[a link](http://b.example) and <b>bold</b>", "a link and bold"),
        ("  indented\n\t too", "indented\ntoo"),
        ("so\u200bft \x07bell\u2028next", "soft bell\nnext"),
        ("half \ud800 of it", "half of it"),
        ("3 < 4 and it`s", "3 4 and it's"),
    ],
)  # fmt: skip
def test_what_is_no_prose_is_taken_out(text: str, left: str) -> None:
    assert prose(text) == left


def test_words_are_read_without_what_was_taken_out() -> None:
    assert (
        spelled(prose("Don't run `rm`, re-read the café's 3 x1 pages")) == "Don't run re-read the café's pages".split()
    )


def test_sentences_end_where_a_reader_would_end_them() -> None:
    text = """Dr. Smith paid 3.50 dollars to J. Doe. He left, e.g. by bus! "Why?" asked
she. It was late... or so. all in small letters. yes

# A heading
- one item
- another one
1. and a third"""
    assert sentences(prose(text)) == [
        "Dr. Smith paid 3.50 dollars to J. Doe.",
        "He left, e.g. by bus!",
        '"Why?" asked she.',
        "It was late... or so.",
        "all in small letters.",
        "yes",
        "# A heading",
        "- one item",
        "- another one",
        "and a third",
    ]


def test_paragraphs_are_cut_between_words_where_they_are_long() -> None:
    pieces = paragraphs("word " * 1000)
    assert all(len(piece) <= LONGEST for piece in pieces)
    assert sum(len(spelled(piece)) for piece in pieces) == 1000
    assert paragraphs("one\ntwo\n\n\nthree\n\n---") == ["one\ntwo", "three"]


def test_the_end_of_what_is_very_long_is_not_read() -> None:
    assert len(prose("a " * MOST)) < MOST


@given(st.text(max_size=200))
def test_any_text_becomes_prose_and_nothing_in_it_is_lost_between_paragraphs(text: str) -> None:
    read = prose(text)
    assert spelled(read) == [word for piece in paragraphs(read) for word in spelled(piece)]
    assert spelled(read) == [word for sentence in sentences(read) for word in spelled(sentence)]
