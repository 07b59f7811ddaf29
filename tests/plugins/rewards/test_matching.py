from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_rewards.selfsupervised.matching import plain_words, similarity

WORDS = st.lists(st.sampled_from(["red", "green", "1"]), max_size=5).map(tuple)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Red House.", "red house"),
        ("1,234", "1234"),
        ("$1,000.50", "1000.5"),
        ("3.00 %", "3"),
        ("an answer", "ANSWER!"),
        ("ｒｅｄ", "red"),
        ("1,23", "1 23"),  # no thousands
    ],
)
def test_spellings_of_the_same_answer(one: str, other: str) -> None:
    assert plain_words(one) == plain_words(other) != ()


def test_other_numbers_are_other_answers() -> None:
    assert plain_words("10") != plain_words("1.0")
    assert plain_words("1,000") != plain_words("1.000") == plain_words("1")


@given(WORDS, WORDS)
def test_agreement_is_mutual_from_0_to_1_and_1_for_the_same(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    for match in ("exact", "f1"):
        value = similarity(one, other, match)
        assert 0 <= value <= 1
        assert value == similarity(other, one, match)
        assert similarity(one, one, match) == float(bool(one))
        if match == "f1" and one and other:  # by the definition: harmonic mean of precision and recall
            shared = sum(min(one.count(word), other.count(word)) for word in set(one))
            precision, recall = shared / len(one), shared / len(other)
            assert value == pytest.approx(2 * precision * recall / (precision + recall) if shared else 0.0)


def test_a_megabyte_of_digits_takes_no_time() -> None:
    assert len(plain_words("1" * 2**20)) == 1
    assert len(plain_words("1," * 2**19)) == 2**19
