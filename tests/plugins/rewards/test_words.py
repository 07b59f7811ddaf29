from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core.testing import make_rollouts
from rlaif_rewards.words import canonical, characters, counted, words


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("IDIOT", "idiot"),
        ("ｉｄｉｏｔ", "idiot"),  # full width
        ("𝒊𝒅𝒊𝒐𝒕", "idiot"),  # mathematical letters
        ("i\u200bd\u00adi\u2060o\ufefft", "idiot"),  # zero-width blank, soft hyphen, joiner, byte-order mark
        ("іdіоt", "idiot"),  # Cyrillic і and о
        ("i\u0336d\u0336iot", "idiot"),  # struck out
        ("İdiot", "idiot"),  # Turkish capital
        ("Straße", "strasse"),
        ("cafe\u0301", "café"),  # an accent that belongs to its letter stays
        ("  two\n\n words\t", "two words"),
        ("\u200b\u00ad", ""),
    ],
)
def test_what_reads_the_same_is_spelt_the_same(written: str, read: str) -> None:
    assert canonical(written) == read


def test_scripts_other_than_latin_survive() -> None:
    assert canonical("Привет") == canonical("ПРИВЕТ")
    assert words("हिन्दी में") == ["हिन्दी", "में"]
    assert words("我爱猫 and cats") == ["我", "爱", "猫", "and", "cats"]


@given(st.text(max_size=40))
def test_canonical_texts_stay_as_they_are(text: str) -> None:
    assert canonical(canonical(text)) == canonical(text)


def test_words_leave_out_punctuation_but_keep_apostrophes() -> None:
    assert words("Don't -- stop, C++!") == ["don't", "stop", "c"]


def test_characters_are_what_a_reader_sees() -> None:
    assert len(characters("e\u0301t\u200be\u0301")) == 3
    assert len(characters("a" + " " * 500 + "b")) == 3
    assert characters("") == []


def test_tokens_are_those_of_the_last_answer_of_a_conversation(drawn) -> None:
    rollouts = drawn("..###..##", ".#..###  ", "  .##.#.#", ".........")
    assert [list(tokens) for tokens in counted(rollouts, "tokens")] == [[8, 9], [14, 15, 16], [27], []]


def test_tokens_are_those_that_the_policy_chose() -> None:
    rollouts = make_rollouts([("yes please", ""), ("no",)])
    assert [len(tokens) for tokens in counted(rollouts, "tokens")] == [3, 1, 2]  # with the end of sequence
    assert [len(found) for found in counted(rollouts, "words")] == [2, 0, 1]
    assert [len(found) for found in counted(rollouts, "characters")] == [10, 0, 2]
