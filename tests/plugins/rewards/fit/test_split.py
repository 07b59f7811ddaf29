from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import DataError
from rlaif_rewards.fit.data import Labelled, Preferences
from rlaif_rewards.fit.split import contradictions, folds, parted, split
from rlaif_rewards.reading import Shown


def texts(*answers: str, groups: str | None = None, labels: str | None = None) -> Labelled:
    numbers = [int(label) for label in labels or "0" * len(answers)]
    return Labelled(
        shown=tuple(Shown("", answer) for answer in answers),
        targets=np.eye(2)[numbers],
        labels=("no", "yes"),
        groups=tuple(groups or answers),
    )


def pairs(*answers: tuple[str, str]) -> Preferences:
    count = len(answers)
    return Preferences(
        chosen=tuple(Shown("q", one) for one, _ in answers),
        rejected=tuple(Shown("q", other) for _, other in answers),
        targets=np.eye(3)[[0] * count],
        margins=np.zeros(count),
        annotators=np.full(count, -1),
        people=(),
        groups=tuple(map(str, range(count))),
        stages=np.arange(count),
    )


@given(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=40), st.integers(0, 5), st.floats(0.05, 0.9))
def test_groups_stay_together_and_the_share_is_met(groups: list[str], seed: int, share: float) -> None:
    if len(set(groups)) < 2:
        return
    examples = texts(*(f"text {n}" for n in range(len(groups))), groups="".join(groups))
    found = split(examples, share, seed)
    sides = [{groups[row] for row in rows} for rows in (found.learnt, found.held)]
    assert not sides[0] & sides[1]
    assert sorted(found.learnt + found.held) == list(range(len(groups)))
    largest = max(map(groups.count, groups))
    assert len(found.held) < share * len(groups) + largest
    assert found == split(examples, share, seed)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40), st.integers(2, 5), st.integers(0, 5))
def test_folds_are_disjoint_whole_and_keep_groups(groups: list[str], count: int, seed: int) -> None:
    found = folds(groups, count, seed)
    assert sorted(row for fold in found for row in fold) == list(range(len(groups)))
    assert len(found) == min(count, len(set(groups)))
    owners = [{groups[row] for row in fold} for fold in found]
    assert sum(map(len, owners)) == len(set(groups))


def test_another_seed_holds_out_others() -> None:
    examples = texts(*(f"text {n}" for n in range(40)))
    assert len({split(examples, 0.3, seed).held for seed in range(5)}) == 5


def test_a_text_on_both_sides_is_not_learnt_from() -> None:
    found = parted(texts("same", "other", " same ", groups="abc"), held=[0])
    assert (found.learnt, found.leaked) == ((1,), (2,))
    found = parted(pairs(("a", "b"), ("c", "d"), ("d", "a")), held=[0])
    assert (found.learnt, found.leaked) == ((1,), (2,))
    with pytest.raises(DataError, match="the rows are all alike"):
        parted(texts("same", "same", groups="ab"), held=[0])


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"all 2 rows are of one group.*choose another \[data\] group"):
        split(texts("a", "b", groups="gg"), 0.2, 0)


def test_contradictions_are_counted() -> None:
    assert contradictions(texts("a", "b", "a", "a", labels="0010")) == (3, "a")
    assert contradictions(texts("a", "b", labels="01")) == (0, "")
    assert contradictions(pairs(("a", "b"), ("b", "a"), ("c", "d"), ("c", "d"))) == (2, "a")
