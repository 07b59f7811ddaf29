from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from rlaif_core import DataError
from rlaif_rewards.fit.features import LONGEST, Features, Tfidf, ngrams, restored, text_of, together
from rlaif_rewards.reading import Shown

TEXTS = ["the cat sat on the mat", "a dog, a cat!", "the the the dog", "mats and dogs", "", "sat on it: the cat"]
ANSWERS = [Shown("", text) for text in TEXTS]
OPTIONS = {"words": {"least": 1, "most": 2}, "characters": {"least": 2, "most": 4}}


def fitted(unit: str, part: str = "answer", **options: int) -> Tfidf:
    made = Tfidf.fit(ANSWERS, part, unit, **{**OPTIONS[unit], "rarest": 1, "features": 1000, **options})
    assert made is not None
    return made


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_rows_are_those_of_scikit_learn(unit: str) -> None:
    least, most = OPTIONS[unit].values()
    analyzer = {"analyzer": "char_wb"} if unit == "characters" else {"token_pattern": r"(?u)\b\w+\b"}
    theirs = TfidfVectorizer(ngram_range=(least, most), sublinear_tf=True, **analyzer)
    expected = theirs.fit_transform(TEXTS).toarray()
    ours = fitted(unit)
    assert sorted(ours.vocabulary, key=ours.vocabulary.get) == list(theirs.get_feature_names_out())
    np.testing.assert_allclose(ours.of(ANSWERS).toarray(), expected, atol=1e-12)


@given(st.text(alphabet="ab c", max_size=12))
def test_character_ngrams_are_those_of_scikit_learn(text: str) -> None:
    theirs = CountVectorizer(analyzer="char_wb", ngram_range=(2, 4)).build_analyzer()(text)
    assert sorted(ngrams(text, unit="characters", least=2, most=4)) == sorted(theirs)


@given(st.text(max_size=40))
def test_any_text_is_a_row_of_length_one_or_none(text: str) -> None:
    row = fitted("characters").of([Shown("", text)]).toarray()
    assert np.linalg.norm(row) == pytest.approx(1) or not row.any()


def test_a_disguised_word_is_the_word() -> None:
    block = fitted("words")
    plain, disguised = block.of([Shown("", "the cat"), Shown("", "tһe с\u200bＡt")]).toarray()
    np.testing.assert_array_equal(plain, disguised)


def test_the_context_is_a_part_of_its_own() -> None:
    chat = Shown("b", "x", ({"role": "user", "content": "a"}, {"role": "user", "content": "b"}))
    assert text_of(chat, "context") == "a\nb"
    assert text_of(Shown("b", "x"), "context") == "b"
    assert text_of(chat, "answer") == "x"
    assert Tfidf.fit(ANSWERS, "context", "words", least=1, most=1, rarest=1, features=9) is None


def test_a_text_of_a_megabyte_is_cut_and_says_so() -> None:
    features = Features((fitted("words"),))
    long = Shown("", "cat " * 250_000)
    assert features.note(long) == f"; {1_000_000 - LONGEST} characters did not fit and were not read"
    assert features.note(ANSWERS[0]) == ""
    assert features.of([long]).toarray().max() == 1


def test_comes_back_to_the_last_bit(tmp_path: Path) -> None:
    features = Features((fitted("words"), fitted("characters")))
    described, arrays = features.save(tmp_path)
    again = restored(described, arrays, tmp_path, "cpu")
    np.testing.assert_array_equal(features.of(ANSWERS).toarray(), again.of(ANSWERS).toarray())
    assert again.width == features.width == sum(len(array) for array in arrays.values())


def test_rare_ngrams_are_left_out_and_none_at_all_is_an_error() -> None:
    assert set(fitted("words", rarest=3).vocabulary) == {"the", "cat"}
    assert Tfidf.fit(ANSWERS, "answer", "words", least=1, most=1, rarest=6, features=9) is None
    with pytest.raises(DataError, match=r"occurs often enough to learn from; add rows, or lower \[fit\] rarest"):
        together([None, None])
