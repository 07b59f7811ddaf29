from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlaif_core.logistic import sigmoid
from rlaif_fusion.joint import Joint, joint_model
from rlaif_fusion.pairs import Pairs, gather

COUNT = 1500
SLOPES, POSITION, LENGTH = (2.0, 1.5, 1.5, 1.0), (0.0, 1.5, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0)


def world(seed: int = 0, count: int = COUNT) -> tuple[Pairs, np.ndarray, np.ndarray]:
    """Four voters of which the second is taken in by the place and the third by length; d, and what is true."""
    random = np.random.default_rng(seed)
    latent = random.normal(size=count)
    places = random.choice([-1.0, 1.0], size=(count, 4))
    lengths = random.uniform(-1, 1, size=count)
    odds = latent[:, None] * SLOPES + places * POSITION + lengths[:, None] * LENGTH
    votes = (random.random((count, 4)) < sigmoid(odds)).astype(float)
    said = {f"s{s}": votes[:, s].tolist() for s in range(4)}
    return (
        gather(
            said, kinds={}, features=None, lengths=lengths.tolist(),
            positions={f"s{s}": places[:, s].tolist() for s in range(4)},
        ),
        latent,
        (latent > 0).astype(float),
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted() -> Joint:
    return joint_model(world()[0])


def test_slopes_and_biases_are_recovered() -> None:
    found = [joint_model(world(seed)[0]) for seed in range(5)]  # one alone may be off by a third
    slope, position, length = (
        np.mean([getattr(its, name) for its in found], axis=0) for name in ("slope", "position", "length")
    )
    assert slope == pytest.approx(SLOPES, abs=0.25)
    assert position == pytest.approx(POSITION, abs=0.15)
    assert length[2] - length[[0, 1, 3]].mean() == pytest.approx(1.0, abs=0.2)
    assert np.isnan(found[0].spread).all()  # votes have none


def test_posterior_is_calibrated_and_better_than_the_mean_of_the_votes(fitted: Joint) -> None:
    given, _, truth = world()
    mean = (given.votes.mean(1) + 1) / 2
    assert ((fitted.posterior - truth) ** 2).mean() < ((mean - truth) ** 2).mean() - 0.01
    sure = fitted.posterior > 0.9
    assert truth[sure].mean() == pytest.approx(fitted.posterior[sure].mean(), abs=0.04)


def test_objective_never_falls(fitted: Joint) -> None:
    assert (np.diff(fitted.objective) >= -1e-6 * COUNT).all()


def test_silence_changes_nothing_and_alone_means_even_odds() -> None:
    given, _, _ = world(1, 200)
    said = {f"s{s}": [None if np.isnan(v) else (v + 1) / 2 for v in given.votes[:, s]] for s in range(4)}
    options: dict[str, Any] = {"kinds": {}, "positions": {}, "lengths": None, "features": None}
    alone = joint_model(gather(said, **options))
    quiet: list[float | None] = [None] * 200
    more = joint_model(gather(said | {"quiet": quiet}, **options))
    assert more.posterior == pytest.approx(alone.posterior, abs=1e-9)
    for column in said.values():
        column[0] = None
    assert joint_model(gather(said, **options)).posterior[0] == pytest.approx(0.5)


def test_exchanging_all_answers_turns_every_posterior() -> None:
    given, _, _ = world(2, 300)
    said = {f"s{s}": ((given.votes[:, s] + 1) / 2).tolist() for s in range(4)}
    turned = {name: [1 - v for v in column] for name, column in said.items()}
    lengths = given.lengths.tolist()
    options: dict[str, Any] = {"kinds": {}, "positions": {}, "features": None}
    one = joint_model(gather(said, lengths=lengths, **options))
    other = joint_model(gather(turned, lengths=[-x for x in lengths], **options))
    assert one.posterior + other.posterior == pytest.approx(1, abs=1e-6)
    assert other.length == pytest.approx(one.length, abs=1e-6)


def test_opponent_gets_a_negative_slope() -> None:
    given, _, truth = world(3, 400)
    said = {f"s{s}": ((given.votes[:, s] + 1) / 2).tolist() for s in range(3)}
    said["liar"] = (1 - truth).tolist()
    found = joint_model(gather(said, kinds={}, positions={}, lengths=None, features=None))
    assert found.slope[3] < -1
    assert ((found.posterior > 0.5) == truth).mean() > 0.9


def test_soft_evidence_counts_by_its_size() -> None:
    random = np.random.default_rng(4)
    latent = random.normal(size=600)
    soft = {f"p{s}": sigmoid(2 * latent + random.normal(size=600)).tolist() for s in range(3)}
    kinds: Any = dict.fromkeys(soft, "probability")
    found = joint_model(gather(soft, kinds=kinds, positions={}, lengths=None, features=None))
    assert found.slope == pytest.approx([2, 2, 2], abs=0.3)
    assert found.spread == pytest.approx([1, 1, 1], abs=0.2)
    assert np.corrcoef(found.posterior, latent)[0, 1] > 0.85


def test_features_tell_of_pairs_that_nobody_judged() -> None:
    given, latent, truth = world(5, 800)
    said = {f"s{s}": [None if row >= 400 else (v + 1) / 2 for row, v in enumerate(given.votes[:, s])] for s in range(4)}
    hint = latent + np.random.default_rng(6).normal(size=800) * 0.5
    found = joint_model(gather(said, kinds={}, positions={}, lengths=None, features=hint[:, None].tolist()))
    assert found.features[0] > 0.4
    assert ((found.posterior > 0.5) == truth)[400:].mean() > 0.8


def test_trusted_labels_turn_a_wrong_majority_around() -> None:
    random = np.random.default_rng(7)
    truth = (random.random(300) < 0.5).astype(float)
    said = {f"s{s}": np.where(random.random(300) < 0.3, truth, 1 - truth).tolist() for s in range(4)}
    given = gather(said, kinds={}, positions={}, lengths=None, features=None)
    trusted = np.where(np.arange(300) < 60, truth, np.nan)
    found = joint_model(given, trusted)
    assert (found.slope < 0).all()
    assert ((found.posterior > 0.5) == truth)[60:].mean() > 0.75
    assert ((joint_model(given).posterior > 0.5) == truth).mean() < 0.3


def test_length_that_goes_with_quality_is_no_bias() -> None:
    random = np.random.default_rng(8)
    lengths = random.uniform(-1, 1, size=800)
    latent = 1.5 * lengths + random.normal(size=800)
    said = {f"s{s}": (random.random(800) < sigmoid(2 * latent)).astype(float).tolist() for s in range(4)}
    found = joint_model(gather(said, kinds={}, positions={}, lengths=lengths.tolist(), features=None))
    assert np.abs(found.length).max() < 0.5
    assert found.features[-1] == pytest.approx(1.5, abs=0.4)


def test_sources_that_repeat_each_other_do_not_become_what_is_true() -> None:
    random = np.random.default_rng(9)
    margin = random.normal(size=250)
    said = {"one": margin.tolist(), "copy": margin.tolist()}
    kinds: Any = dict.fromkeys(said, "score")
    found = joint_model(gather(said, kinds=kinds, positions={}, lengths=None, features=None))
    assert found.spread == pytest.approx([0.5, 0.5], abs=1e-6)  # of evidence whose size is 1
