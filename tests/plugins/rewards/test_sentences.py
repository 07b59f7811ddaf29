from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_rewards.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n\t", []),
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Dr. Who met Mr. Smith. They left.", ["Dr. Who met Mr. Smith.", "They left."]),
        ("The U.S. won, e.g. in 1969. Yes.", ["The U.S. won, e.g. in 1969.", "Yes."]),
        ("J. Doe has 3.5 apples.", ["J. Doe has 3.5 apples."]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("1. First\n2) second\n- third\n• fourth", ["First", "second", "third", "fourth"]),
        ("猫がいる。犬もいる！", ["猫がいる。", "犬もいる！"]),
        ("Wait... what?!", ["Wait...", "what?!"]),
        ("...\n---\n!", []),
    ],
)
def test_the_stated_rule(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(st.text(max_size=80))
def test_nothing_that_says_something_is_lost(text: str) -> None:
    kept = [character for sentence in sentences(text) for character in sentence if character.isalpha()]
    assert kept == [character for character in text if character.isalpha()]


def test_a_megabyte_is_split_in_no_time() -> None:
    assert len(sentences("a. b" * 250_000)) <= 250_001
    assert len(sentences("yes.\n" * 200_000)) == 200_000
