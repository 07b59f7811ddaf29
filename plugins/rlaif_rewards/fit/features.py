"""Texts as rows of numbers: TF-IDF of words and characters, counted here, its vocabulary chosen by scikit-learn.

Spellings are canonical (`words.canonical`), so that invisible characters, widths and letters of other alphabets that
look Latin do not hide a word. Everything is saved as JSON and arrays and comes back to the last bit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from rlaif_core import DataError
from rlaif_rewards.reading import Shown
from rlaif_rewards.words import canonical, words

LONGEST = 50_000
"""Characters of a text that are counted; what is behind them is named in the reason."""

Arrays = Mapping[str, NDArray[Any]]
Matrix = Any  # scipy's sparse matrices and numpy's arrays share no type
Unit = Literal["words", "characters"]
Part = Literal["answer", "context"]


class Block(Protocol):
    """Some of the features, side by side with others."""

    @property
    def width(self) -> int:
        """How many features."""

    def of(self, answers: Sequence[Shown]) -> Matrix:
        """[B, width] f64, sparse or dense."""

    def save(self, folder: Path) -> tuple[dict[str, Any], Arrays]:
        """What JSON holds of it, and the arrays by name; large files go into the folder."""


@dataclass(frozen=True, slots=True)
class Tfidf:
    """(1 + ln count) * idf of each known n-gram of the answer or of its context; each row of length 1 (or 0).

    idf = ln((1 + texts) / (1 + texts with the n-gram)) + 1, as scikit-learn's `TfidfVectorizer(sublinear_tf=True)`.
    n-grams of characters stay within words, which are given a blank at both ends.
    """

    part: Part
    unit: Unit
    least: int
    most: int
    vocabulary: Mapping[str, int]
    idf: NDArray[np.float64]

    @property
    def width(self) -> int:
        return len(self.idf)

    @classmethod
    def fit(
        cls, answers: Sequence[Shown], part: Part, unit: Unit, *, least: int, most: int, rarest: int, features: int
    ) -> Tfidf | None:
        """Learn the n-grams that occur in `rarest` texts or more, at most `features`; None where there are none."""
        vectoriser = TfidfVectorizer(
            analyzer=partial(ngrams, unit=unit, least=least, most=most),
            sublinear_tf=True,
            min_df=rarest,
            max_features=features,
        )
        texts = [text_of(shown, part) for shown in answers]
        if not any(text.strip() for text in texts):
            return None
        try:
            vectoriser.fit(texts)
        except ValueError:  # nothing is left of the vocabulary: a block less
            return None
        vocabulary = {str(term): int(place) for term, place in vectoriser.vocabulary_.items()}
        return cls(part, unit, least, most, vocabulary, np.asarray(vectoriser.idf_, dtype=np.float64))

    def of(self, answers: Sequence[Shown]) -> Matrix:
        starts, places, values = [0], list[int](), list[float]()
        for shown in answers:
            grams = ngrams(text_of(shown, self.part), unit=self.unit, least=self.least, most=self.most)
            known = (self.vocabulary.get(gram) for gram in grams)
            counts = sorted(Counter(place for place in known if place is not None).items())
            row = [(1 + math.log(count)) * float(self.idf[place]) for place, count in counts]
            length = math.sqrt(sum(value * value for value in row)) or 1.0
            places += [place for place, _ in counts]
            values += [value / length for value in row]
            starts.append(len(places))
        return sparse.csr_matrix((values, places, starts), shape=(len(answers), self.width), dtype=np.float64)

    def save(self, folder: Path) -> tuple[dict[str, Any], Arrays]:
        terms = sorted(self.vocabulary, key=self.vocabulary.__getitem__)
        described = {"part": self.part, "unit": self.unit, "least": self.least, "most": self.most, "terms": terms}
        return {"kind": "tfidf", **described}, {"idf": self.idf}

    @classmethod
    def restored(cls, stated: Mapping[str, Any], arrays: Arrays) -> Tfidf:
        """What `save` wrote."""
        vocabulary = {str(term): place for place, term in enumerate(stated["terms"])}
        if len(vocabulary) != len(arrays["idf"]):
            raise ValueError("as many n-grams as weights are wanted")
        return cls(stated["part"], stated["unit"], stated["least"], stated["most"], vocabulary, arrays["idf"])


@dataclass(frozen=True, slots=True)
class Features:
    """All blocks side by side."""

    blocks: tuple[Block, ...]

    @property
    def width(self) -> int:
        return sum(block.width for block in self.blocks)

    def of(self, answers: Sequence[Shown]) -> Matrix:
        """[B, width] f64, sparse where the first block is."""
        found = [block.of(answers) for block in self.blocks]
        if not any(sparse.issparse(each) for each in found):
            return np.hstack(found)
        return sparse.hstack([sparse.csr_matrix(each) for each in found], format="csr")

    def note(self, shown: Shown) -> str:
        """What to add to a reason where a text is too long to be counted whole."""
        cut = max(len(shown.answer) - LONGEST, 0)
        return f"; {cut} characters did not fit and were not read" if cut else ""

    def save(self, folder: Path) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
        described, arrays = [], dict[str, NDArray[Any]]()
        for number, block in enumerate(self.blocks):
            stated, its = block.save(folder)
            described.append(stated)
            arrays |= {f"{number}.{name}": np.ascontiguousarray(array) for name, array in its.items()}
        return described, arrays


def restored(stated: Sequence[Mapping[str, Any]], arrays: Arrays, folder: Path, device: str) -> Features:
    """What `Features.save` wrote."""
    blocks: list[Block] = []
    for number, its in enumerate(stated):
        own = {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"{number}.")}
        if its["kind"] == "tfidf":
            blocks.append(Tfidf.restored(its, own))
        else:
            from rlaif_rewards.fit.embedding import Embedding

            blocks.append(Embedding.restored(its, own, folder, device))
    return Features(tuple(blocks))


def together(blocks: Sequence[Block | None]) -> Features:
    """The blocks that there are, of which there must be one."""
    there = tuple(block for block in blocks if block is not None)
    if not there:
        raise DataError("no word or n-gram occurs often enough to learn from; add rows, or lower [fit] rarest")
    return Features(there)


def text_of(shown: Shown, part: Part) -> str:
    """The answer; or its context, all messages of a conversation one below the other."""
    if part == "answer":
        return shown.answer[:LONGEST]
    asked = "\n".join(message["content"] for message in shown.messages) or shown.context
    return asked[-LONGEST:]


def ngrams(text: str, *, unit: Unit, least: int, most: int) -> Iterator[str]:
    """The n-grams of a text, `least` to `most` words or characters each, as often as they occur."""
    return _GRAMS[unit](text, least, most)


def _of_words(text: str, least: int, most: int) -> Iterator[str]:
    said = words(text)
    for size in range(least, most + 1):
        for start in range(len(said) - size + 1):
            yield " ".join(said[start : start + size])


def _of_characters(text: str, least: int, most: int) -> Iterator[str]:
    for word in canonical(text).split():
        framed = f" {word} "
        for size in range(least, most + 1):
            if size >= len(framed):  # what is shorter counts once, as a whole
                yield framed
                break
            for start in range(len(framed) - size + 1):
                yield framed[start : start + size]


_GRAMS: Mapping[Unit, Callable[[str, int, int], Iterator[str]]] = {"words": _of_words, "characters": _of_characters}
