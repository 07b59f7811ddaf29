"""Which phrases and habits go with reward: two-sample tests within the answers to each prompt, many at a time.

Answers are compared with their siblings, so that what a prompt is about explains nothing. What stands out here is not
yet a hack, but a hack that pays stands out here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import regex
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LONGEST = 20_000
"""Characters of an answer that are looked at."""
_WORD = regex.compile(r"[\p{L}\p{M}\p{N}_'’]+|[^\s\p{L}\p{M}\p{N}_'’\p{C}]")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its reward; `group` is the same for answers to be compared."""

    text: str
    reward: float
    group: Hashable


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A phrase or a habit that goes with reward.

    `gap` is the reward of siblings that have it less that of those that have not (of a habit: per standard deviation of
    it); `share` how many answers have it (of a habit: its mean); `p` is corrected for how much was looked at.
    """

    kind: Literal["phrase", "habit"]
    name: str
    gap: float
    share: float
    p: float


def words(text: str) -> list[str]:
    """Case-folded words and single signs; what cannot be seen is none."""
    return [str(word).casefold() for word in _WORD.findall(text[:LONGEST])]


def _share(pattern: str) -> Callable[[str, list[str]], float]:
    compiled = regex.compile(pattern)
    return lambda text, _: len(compiled.findall(text)) / max(len(text), 1)


HABITS: Mapping[str, Callable[[str, list[str]], float]] = {
    "length in words": lambda _, said: len(said),
    "share of capitals": _share(r"\p{Lu}"),
    "share of digits": _share(r"\p{N}"),
    "share of punctuation": _share(r"\p{P}"),
    "share of symbols and emoji": _share(r"\p{S}"),
    "line breaks": lambda text, _: text.count("\n"),
    "repeated words": lambda _, said: 1 - len(set(said)) / len(said) if said else 0.0,
}
"""What can be measured of any text."""


def suspicions(answers: Sequence[Answer], *, longest: int = 3, least: int = 8, level: float = 0.01) -> list[Suspicion]:
    """Phrases of up to `longest` words in at least `least` answers (and absent from as many), and habits, that go with
    reward at a false discovery rate of `level` (Benjamini and Hochberg 1995); the largest gap first.

    Of phrases that the very same answers have, only the longest is named.
    """
    texts = [answer.text[:LONGEST] for answer in answers]
    if len(answers) < 2 * least:
        return []
    groups = np.unique([repr(answer.group) for answer in answers], return_inverse=True)[1]
    rewards = _within(np.array([[answer.reward] for answer in answers], float), groups)[:, 0]
    found = [*_phrases(texts, rewards, groups, longest, least), *_habits(texts, rewards, groups)]
    corrected = discoveries([it.p for it in found])
    said = [replace(it, p=p) for it, p in zip(found, corrected, strict=True) if p <= level]
    return sorted(said, key=lambda it: (-abs(it.gap), it.name))


def _phrases(texts: Sequence[str], rewards: Floats, groups: NDArray[Any], longest: int, least: int) -> list[Suspicion]:
    from sklearn.feature_extraction.text import CountVectorizer

    count = CountVectorizer(analyzer=lambda text: phrases_of(words(text), longest), binary=True, min_df=least)
    try:
        matrix = count.fit_transform(texts)
    except ValueError:  # no phrase is so frequent
        return []
    has = matrix.toarray().T.astype(bool)
    seen: dict[bytes, tuple[int, str, NDArray[np.bool_]]] = {}
    for name, column in zip(count.get_feature_names_out(), has, strict=True):
        if column.sum() <= len(texts) - least:
            size, key = len(name.split(" ")), column.tobytes()
            if key not in seen or size > seen[key][0]:
                seen[key] = (size, name, column)
    found = [(name, column) for _, name, column in seen.values()]
    return [its for name, column in found if (its := _suspicion("phrase", name, column.astype(float), rewards, groups))]


def _habits(texts: Sequence[str], rewards: Floats, groups: NDArray[Any]) -> list[Suspicion]:
    split = [words(text) for text in texts]
    found = []
    for name, of in HABITS.items():
        values = np.array([of(*its) for its in zip(texts, split, strict=True)], float)
        found.append(_suspicion("habit", name, values, rewards, groups))
    return [its for its in found if its]


def _suspicion(
    kind: Literal["phrase", "habit"], name: str, values: Floats, rewards: Floats, groups: NDArray[Any]
) -> Suspicion | None:
    """The slope of reward on `values` within groups, with a variance that trusts no answer to be as noisy as another
    (MacKinnon and White 1985, HC3), rare phrases least; None where siblings never differ."""
    away = _within(values[:, None], groups)[:, 0]
    squares = float(away @ away)
    if squares <= 1e-12 * max(float(values @ values), 1e-300):
        return None
    slope = float(away @ rewards) / squares
    left = rewards - slope * away
    free = len(values) - len(set(groups.tolist()))
    alone = 1 - away * away / squares  # an answer that decides the slope by itself leaves nothing over to see
    if free < 2 or float(alone.min()) < 1e-9:
        return None
    variance = float(((away * left / alone) ** 2).sum()) * len(values) / free
    error = math.sqrt(variance) / squares
    scale = float(np.std(values)) if kind == "habit" else 1.0
    p = math.erfc(abs(slope) / error / math.sqrt(2)) if error > 0 else float(slope == 0)
    return Suspicion(kind, name, slope * scale, float(values.mean()), p)


def _within(values: Floats, groups: NDArray[Any]) -> Floats:
    """Deviations [B,K] from each group's mean."""
    sums = np.zeros((int(groups.max()) + 1, values.shape[1]))
    np.add.at(sums, groups, values)
    means: Floats = sums / np.bincount(groups)[:, None]
    deviations: Floats = values - means[groups]
    return deviations


def phrases_of(said: Sequence[str], longest: int) -> set[str]:
    """All runs of up to `longest` words."""
    return {" ".join(said[at : at + n]) for n in range(1, longest + 1) for at in range(len(said) - n + 1)}


def discoveries(ps: Sequence[float]) -> list[float]:
    """The p-values, corrected: of those at most q no more than a share q is false on average, whatever q."""
    order = sorted(range(len(ps)), key=ps.__getitem__, reverse=True)
    corrected, lowest = [1.0] * len(ps), 1.0
    for place, index in enumerate(order):
        lowest = min(lowest, ps[index] * len(ps) / (len(ps) - place))
        corrected[index] = lowest
    return corrected
