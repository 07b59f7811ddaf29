from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from rlaif_rewards.fit.odin import correlation, entangled, length_head, lengths, overlap
from rlaif_rewards.fit.regress import prefer
from rlaif_rewards.reading import Shown

Array = np.ndarray


def test_lengths_are_those_of_answers() -> None:
    assert lengths([Shown("a long question", "abc"), Shown("", "")]).tolist() == [3, 0]


def test_correlations_are_those_of_numpy() -> None:
    said, long = torch.randn(50, 2, dtype=torch.float64), torch.randn(50, dtype=torch.float64)
    quality, length = (np.corrcoef(head, long)[0, 1] for head in said.T)
    assert correlation(said[:, 0], long).item() == pytest.approx(quality)
    assert entangled(said, long).item() == pytest.approx(abs(quality) - length)


def test_what_does_not_vary_is_correlated_with_nothing_and_has_a_slope() -> None:
    said = torch.ones(4, 2, requires_grad=True)
    loss = entangled(said, torch.tensor([1.0, 2, 3, 4]))
    (slope,) = torch.autograd.grad(loss, said)
    assert loss.item() == 0
    assert slope.isfinite().all()
    assert entangled(said, torch.ones(4)).item() == 0


def test_heads_overlap_as_far_as_they_point_the_same_way() -> None:
    assert overlap(torch.tensor([[2.0, 0], [0, 5]])).item() == 0
    assert overlap(torch.tensor([[2.0, 0], [-5, 0]])).item() == pytest.approx(1)


def answers(count: int, bias: float, seed: int) -> tuple[Array, Array, Array]:
    """(features [2N, 12] of two answers each, lengths [2N], targets [N, 3]): the better one is told by the first
    feature, and how long an answer is by the second; `bias` is what length counts to who labels."""
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(2 * count, 12))
    features[:, 1] += 0.5 * features[:, 0]  # better answers are somewhat longer, too
    long = 300 + 100 * features[:, 1] + 10 * draw.normal(size=2 * count)
    wanted = features[:, 0] + bias * features[:, 1]
    wins = draw.random(count) < 1 / (1 + np.exp(-2 * (wanted[:count] - wanted[count:])))
    return features, long, np.stack([wins, np.zeros(count), ~wins], 1).astype(float)


def fitted(features: Any, long: Array, targets: Array, *, odin: bool) -> Any:
    count = len(targets)
    return prefer(
        features[:count] - features[count:],
        targets,
        3.0,
        margins=np.zeros(count),
        annotators=np.full(count, -1),
        people=0,
        ties="none",
        apart=length_head(features, long) if odin else None,
    )


@pytest.mark.parametrize("layout", [np.asarray, sparse.csr_matrix])
def test_the_quality_head_is_free_of_length_and_the_better_judge_where_length_does_not_count(layout: Any) -> None:
    features, long, targets = answers(600, bias=1.5, seed=0)
    fair, fair_long, _ = answers(4000, bias=0.0, seed=1)
    first = fair[:4000, 0] > fair[4000:, 0]
    found = {}
    for odin in (False, True):
        weight = fitted(layout(features), long, targets, odin=odin).weight
        said = fair @ weight
        accuracy = ((said[:4000] > said[4000:]) == first).mean()
        found[odin] = np.corrcoef(said, fair_long)[0, 1], accuracy
        if odin:  # exact where it was learnt
            assert abs(np.corrcoef(features @ weight, long)[0, 1]) < 1e-6
    assert abs(found[True][0]) < 0.1 < 0.8 < found[False][0]
    assert found[True][1] > found[False][1] + 0.05


def test_with_more_features_than_rows_it_is_as_exact() -> None:
    features, long, targets = answers(40, bias=1.0, seed=2)
    wide = np.hstack([features, np.random.default_rng(3).normal(size=(80, 400))])
    weight = fitted(sparse.csr_matrix(wide), long, targets, odin=True).weight
    assert abs(np.corrcoef(wide @ weight, long)[0, 1]) < 1e-6
    assert np.linalg.norm(weight) > 0.1


def test_the_length_head_says_what_length_counts() -> None:
    signs = []
    for bias in (1.5, -1.5):
        features, long, targets = answers(600, bias=bias, seed=0)
        signs.append(np.sign(fitted(features, long, targets, odin=True).share))
    assert signs == [1, -1]


def test_equal_lengths_bar_nothing() -> None:
    features, _, targets = answers(60, bias=0.0, seed=0)
    with_it, without = (fitted(features, np.full(120, 7.0), targets, odin=odin).weight for odin in (True, False))
    np.testing.assert_allclose(with_it, without, atol=1e-4)
