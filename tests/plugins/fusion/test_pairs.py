from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rlaif_core import DataError
from rlaif_fusion.pairs import GRADES, Pairs, gather, truths


def pairs(said: dict[str, Any], **options: Any) -> Pairs:
    given = {"kinds": {}, "positions": {}, "lengths": None, "features": None} | options
    return gather(said, **given)


def test_every_kind_becomes_evidence_and_silence_stays_silence() -> None:
    found = pairs(
        {"v": [1.0, 0.5, None], "p": [0.5, 0.9, 0.1], "s": [None, 3.0, -4.0]}, kinds={"p": "probability", "s": "score"}
    )
    assert found.evidence[:, 0].tolist()[:2] == [1.0, 0.0]
    assert found.evidence[:, 1] == pytest.approx([0, math.log(9), -math.log(9)])
    assert found.scales == (1.0, 1.0, pytest.approx(math.sqrt(12.5)))
    assert found.evidence[1:, 2] == pytest.approx([3 / math.sqrt(12.5), -4 / math.sqrt(12.5)])
    assert found.spoke.tolist() == [[True, True, False], [True, True, True], [False, True, True]]
    assert np.nan_to_num(found.votes, nan=9).tolist() == [[1, 0, 9], [0, 1, 1], [9, -1, -1]]


def test_grades_are_mirrored_and_hold_alike_many() -> None:
    said = [0.5, 0.6, 0.7, 0.9, 0.4, 0.3, 0.1, None]
    grades = pairs({"p": said, "v": [1.0, 0.0, 0.5, None] * 2}, kinds={"p": "probability"}).grades()
    assert grades[:, 0].tolist() == [3, 4, 5, 6, 2, 1, 0, -1]
    assert grades[:4, 1].tolist() == [2 * GRADES, 0, GRADES, -1]
    silent = pairs({"p": [None, None]}, kinds={"p": "probability"})
    assert (silent.grades() == -1).all()
    assert (pairs({"s": [0.0, 0.0]}, kinds={"s": "score"}).grades() == GRADES).all()


@pytest.mark.parametrize(
    ("said", "options", "complaint"),
    [
        ({}, {}, "no source to fuse"),
        ({"a": [1.0], "b": [1.0, 0.0]}, {}, "source 'b' has 2 rows"),
        ({"a": [0.7]}, {}, "votes 0.7"),
        ({"a": [math.nan]}, {}, "nan"),
        ({"a": [math.inf]}, {"kinds": {"a": "score"}}, "inf"),
        ({"a": [1.2]}, {"kinds": {"a": "probability"}}, "between 0 and 1"),
        ({"a": [1.0]}, {"kinds": {"b": "vote"}}, "no such source"),
        ({"a": [1.0]}, {"kinds": {"a": "guess"}}, "of kind 'guess'"),
        ({"a": [1.0]}, {"positions": {"b": [1]}}, "no such source"),
        ({"a": [1.0]}, {"positions": {"a": [0.5]}}, "must be 1"),
        ({"a": [1.0]}, {"positions": {"a": [1, -1]}}, "has 2 rows"),
        ({"a": [1.0]}, {"lengths": [3.0]}, "from -1 to 1"),
        ({"a": [1.0]}, {"lengths": []}, "1 numbers"),
        ({"a": [1.0]}, {"features": [[1.0], [2.0]]}, "a row a pair"),
        ({"a": [1.0]}, {"features": [[math.nan]]}, "nan"),
    ],
)
def test_what_does_not_fit_is_named(said: dict[str, Any], options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        pairs(said, **options)


def test_trusted_labels_take_sides() -> None:
    assert np.nan_to_num(truths([1.0, 0.0, 0.5, None], 4), nan=9).tolist() == [1, 0, 9, 9]
    assert np.isnan(truths(None, 3)).all()
    with pytest.raises(DataError, match=r"a trusted label is 0\.3"):
        truths([0.3], 1)
    with pytest.raises(DataError, match="2 trusted labels for 1"):
        truths([1.0, 0.0], 1)
