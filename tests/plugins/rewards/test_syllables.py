from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_rewards.syllables import syllables

COUNTS = {
    1: "a the I made played walked loves league tongue ears it's strength queue",
    2: "player being table doubled someone business create lion isn't science reading wanted prism well-known",
    3: "beautiful idea video definite technical animal elephant area usual simile recipe NFL",
    4: "information continuous mediator category HTML state-of-the-art",
    5: "university immediately refrigerator opportunity",
}


@pytest.mark.parametrize(("count", "words"), COUNTS.items())
def test_known_counts(count: int, words: str) -> None:
    assert {word: syllables(word) for word in words.split()} == dict.fromkeys(words.split(), count)


@given(st.text(max_size=80))
def test_every_text_has_at_least_one(text: str) -> None:
    assert syllables(text) >= 1


@given(st.from_regex(r"[a-z]{1,12}", fullmatch=True), st.from_regex(r"[a-z]{1,12}", fullmatch=True))
def test_parts_of_a_hyphenated_word_are_counted_by_themselves(one: str, other: str) -> None:
    assert syllables(f"{one}-{other}") == syllables(one) + syllables(other)


def test_case_accents_and_what_is_invisible_change_nothing() -> None:
    assert syllables("TaBle") == syllables("ta\u200bble") == syllables("table")
