from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch

from rlaif_builtins.optimisers.losses import (
    clipped_gain,
    clipped_value_loss,
    drift,
    kl_estimate,
    kl_loss,
    length_fits,
    pair_loss,
    ratio_gain,
    steered,
    weights,
)
from rlaif_core import TrainingError

MODES = ("token_mean", "sequence_mean", "sequence_sum", "constant")
MASK = torch.tensor([[0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [1, 1, 0, 1, 1]]).bool()  # 3, 0, 1 and 4 tokens

# Three tokens to choose from: a policy, the reference it is compared with, and the policy that drew the samples.
POLICY, REFERENCE, SAMPLER = [0.2, -0.4, 1.1], [0.5, 0.3, -0.2], [-0.1, 0.4, 0.3]


def log_probs(logits: list[float]) -> torch.Tensor:
    return torch.tensor(logits, dtype=torch.float64).log_softmax(0)


def gradient(value: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(value, of)[0]


def slope(value: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The gradient with respect to POLICY's logits of a function of its log-probs."""
    logits = torch.tensor(POLICY, dtype=torch.float64, requires_grad=True)
    return gradient(value(logits.log_softmax(0)), logits)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("token_mean", [1 / 8, 0, 1 / 8, 1 / 8]),
        ("sequence_mean", [1 / 9, 0, 1 / 3, 1 / 12]),
        ("sequence_sum", [1 / 3, 0, 1 / 3, 1 / 3]),
        ("constant", [1 / 30, 0, 1 / 30, 1 / 30]),
    ],
)
def test_weights_by_hand_with_an_answer_left_out(mode: str, expected: list[float]) -> None:
    found = weights(MASK, mode, 10 if mode == "constant" else None)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.tensor(expected)[:, None] * MASK)


@pytest.mark.parametrize("mode", MODES)
def test_answers_without_a_token_and_padding_change_nothing(mode: str) -> None:
    kept = weights(MASK[[0, 2, 3]], mode, 10)
    assert torch.equal(weights(MASK, mode, 10)[[0, 2, 3]], kept)
    wider = torch.nn.functional.pad(MASK, (3, 2))
    assert torch.equal(weights(wider, mode, 10)[:, 3:8], weights(MASK, mode, 10))


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_denominator_raises(mode: str) -> None:
    with pytest.raises(TrainingError, match="every answer was left out"):
        weights(torch.zeros(3, 4, dtype=torch.bool), mode, 10)


@pytest.mark.parametrize(
    ("mode", "length", "fits"),
    [("constant", 5, True), ("constant", None, False), ("constant", 0, False)]
    + [(mode, length, length is None) for mode in MODES[:3] for length in (None, 5)],
)
def test_a_length_is_given_where_it_is_read(mode: str, length: int | None, fits: bool) -> None:
    assert length_fits(mode, length)[0] is fits


def test_ratio_gain_has_the_gradient_of_reinforce() -> None:
    logp = torch.tensor([[-0.3, -1.2], [-2.0, -0.1]], dtype=torch.float64, requires_grad=True)
    advantages = torch.tensor([[0.5, -2.0], [1.5, 0.0]], dtype=torch.float64)
    assert torch.equal(gradient(ratio_gain(logp, logp.detach(), advantages).sum(), logp), advantages)
    stale = logp.detach() - torch.tensor([[0.5, -0.5], [2.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([[math.exp(0.5), math.exp(-0.5)], [math.exp(2), 1]], dtype=torch.float64) * advantages
    torch.testing.assert_close(gradient(ratio_gain(logp, stale, advantages).sum(), logp), expected)


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain", "active"),
    [
        (1.5, 2.0, 1.3 * 2.0, True),  # a good token that has risen enough
        (1.5, -2.0, 1.5 * -2.0, False),  # a bad token that has risen: bring it back
        (0.5, 2.0, 0.5 * 2.0, False),  # a good token that has fallen: bring it back
        (0.5, -2.0, 0.8 * -2.0, True),  # a bad token that has fallen enough
        (1.25, 2.0, 1.25 * 2.0, False),
        (0.85, -2.0, 0.85 * -2.0, False),
        (1.5, 0.0, 0.0, False),
    ],
)
def test_clipped_gain_by_hand(ratio: float, advantage: float, gain: float, active: bool) -> None:
    logp = torch.tensor(math.log(ratio), dtype=torch.float64, requires_grad=True)
    found, clipped = clipped_gain(logp, torch.zeros_like(logp), torch.tensor(advantage).double(), 0.2, 0.3)
    assert found.item() == pytest.approx(gain, abs=1e-12)
    assert clipped.item() is active
    assert gradient(found, logp).item() == pytest.approx(0 if active else ratio * advantage, abs=1e-12)


def test_clipped_gain_is_reinforce_where_nothing_has_moved() -> None:
    logp = torch.tensor([-0.3, -1.2, -2.0], requires_grad=True)
    advantages = torch.tensor([0.5, -2.0, 0.0])
    gain, clipped = clipped_gain(logp, logp.detach(), advantages, 0.2, 0.2)
    assert torch.equal(gain, advantages)
    assert not clipped.any()
    assert torch.equal(gradient(gain.sum(), logp), advantages)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_the_kl_in_expectation_and_k2_is_not(estimator: str) -> None:
    policy, reference = log_probs(POLICY), log_probs(REFERENCE)
    exact = (policy.exp() * (policy - reference)).sum()
    found = (policy.exp() * kl_estimate(policy, reference, estimator)).sum()
    torch.testing.assert_close(found, exact)
    assert abs((policy.exp() * kl_estimate(policy, reference, "k2")).sum() - exact) > 0.01 * exact


def test_each_estimator_by_hand() -> None:
    logp, reference = torch.tensor([-1.0, -0.2, -3.0]), torch.tensor([-0.4, -1.7, -3.0])
    assert kl_estimate(logp, reference, "k1").tolist() == pytest.approx([-0.6, 1.5, 0])
    assert kl_estimate(logp, reference, "k2").tolist() == pytest.approx([0.18, 1.125, 0])
    assert kl_estimate(logp, reference, "k3").tolist() == pytest.approx([math.exp(0.6) - 1.6, math.exp(-1.5) + 0.5, 0])
    assert (kl_estimate(torch.randn(99), torch.randn(99), "k3") >= 0).all()


def test_gradients_of_the_estimators_in_expectation() -> None:
    """On the policy's own samples k1 pulls nowhere, k2 down the reverse KL, k3 down the forward KL."""
    drawn, reference = log_probs(POLICY).exp(), log_probs(REFERENCE)
    reverse = slope(lambda policy: (policy.exp() * (policy - reference)).sum())
    forward = slope(lambda policy: (reference.exp() * (reference - policy)).sum())
    assert (reverse - forward).abs().max() > 0.03
    for estimator, expected in (("k1", torch.zeros_like(reverse)), ("k2", reverse), ("k3", forward)):
        found = slope(lambda policy, kind=estimator: (drawn * kl_estimate(policy, reference, kind)).sum())
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("value", ["k1", "k2", "k3"])
@pytest.mark.parametrize("descended", ["k2", "k3"])
def test_kl_loss_shows_one_estimator_and_descends_another(value: str, descended: str) -> None:
    policy, reference = log_probs(POLICY), log_probs(REFERENCE)
    assert torch.equal(kl_loss(policy, policy, reference, value, descended), kl_estimate(policy, reference, value))
    torch.testing.assert_close(
        slope(lambda policy: kl_loss(policy, policy.detach(), reference, value, descended).sum()),
        slope(lambda policy: kl_estimate(policy, reference, descended).sum()),
    )


def test_kl_loss_descends_the_reverse_kl_on_another_policys_samples() -> None:
    reference, old = log_probs(REFERENCE), log_probs(SAMPLER)
    torch.testing.assert_close(
        slope(lambda policy: (old.exp() * kl_loss(policy, old, reference, "k3", "k2")).sum()),
        slope(lambda policy: (policy.exp() * (policy - reference)).sum()),
    )


def test_the_exponent_of_k3_is_capped_at_20_and_not_below() -> None:
    logp = torch.tensor([-19.0, -21.0, -500.0], dtype=torch.float64, requires_grad=True)
    found = kl_estimate(logp, torch.zeros(3, dtype=torch.float64), "k3")
    assert found.tolist() == pytest.approx([math.exp(19) - 20, math.exp(20) - 22, math.exp(20) - 501])
    assert gradient(found.sum(), logp).tolist() == pytest.approx([1 - math.exp(19), 1, 1])


def test_drift_by_hand() -> None:
    old, logp = torch.tensor([[-1.0, -2.0, 0.0]]), torch.tensor([[-0.5, -2.3, 0.0]])
    share = torch.tensor([[0.5, 0.5, 0.0]])
    found = drift(share, logp, old, torch.tensor([[True, False, False]]), torch.tensor([[0.3, 0.7, 9.0]]))
    assert {name: value.item() for name, value in found.items()} == {
        "clip_fraction": 0.5,
        "approx_kl": pytest.approx(((math.exp(0.5) - 1.5) + (math.exp(-0.3) - 0.7)) / 2),
        "entropy": 0.5,
    }


def test_value_loss_by_hand() -> None:
    values, old = torch.tensor([0.0, 1.0, 1.0, -1.0]), torch.tensor([0.1, 0.0, 0.0, 0.0])
    returns = torch.tensor([2.0, 2.0, 0.5, 1.0])
    assert clipped_value_loss(values, old, returns, None).tolist() == pytest.approx([2, 0.5, 0.125, 2])
    # within the clip; held back at .2; held back, though the value itself is nearer; the worse of the two counts
    assert clipped_value_loss(values, old, returns, 0.2).tolist() == pytest.approx([2, 1.62, 0.125, 2])


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_pair_losses_at_equality_and_ipos_optimum(beta: float) -> None:
    margin = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    for smoothing in (0.0, 0.2):
        sigmoid = pair_loss(margin, beta, smoothing, "sigmoid")
        assert torch.equal(sigmoid, torch.full((3,), math.log(2), dtype=torch.float64))
        assert gradient(sigmoid.sum(), margin).tolist() == pytest.approx([-beta * (0.5 - smoothing)] * 3)
    assert pair_loss(margin, beta, 0.0, "ipo").tolist() == [(1 / (2 * beta)) ** 2] * 3
    best = torch.tensor([1 / (2 * beta)], dtype=torch.float64, requires_grad=True)
    assert gradient(pair_loss(best, beta, 0.0, "ipo").sum(), best).item() == 0


def test_smoothing_stops_where_the_model_believes_the_label_as_much_as_it_should() -> None:
    margin = torch.tensor([math.log(0.8 / 0.2) / 0.5], dtype=torch.float64, requires_grad=True)
    loss = pair_loss(margin, 0.5, 0.2, "sigmoid")
    assert loss.item() == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.2))
    assert gradient(loss.sum(), margin).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", ["sigmoid", "ipo"])
def test_pair_losses_stay_finite_far_out(kind: str) -> None:
    margin = torch.tensor([-1e4, 1e4], requires_grad=True)
    loss = pair_loss(margin, 0.1, 0.1, kind)
    assert loss.isfinite().all()
    assert gradient(loss.sum(), margin).isfinite().all()


@pytest.mark.parametrize(("kl", "factor"), [(6.0, 1.0), (6.6, 1.01), (5.4, 0.99), (60.0, 1.02), (0.0, 0.98)])
def test_the_kl_controller_follows_the_error_within_a_fifth(kl: float, factor: float) -> None:
    assert steered(0.3, kl, 6.0, 0.1) == pytest.approx(0.3 * factor)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, 6.0, 1e9])
def test_a_step_of_any_length_changes_the_kl_weight_by_a_fifth_at_most(share: float) -> None:
    for kl in (-1e9, 0.0, 6.0, 1e9):
        assert 0.3 * 0.8 <= steered(0.3, kl, 6.0, share) <= 0.3 * 1.2


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_cut_anywhere_has_one_gradient(mode: str) -> None:
    logp = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    old, reference, advantages = (torch.randn(6, 5, dtype=torch.float64) for _ in range(3))
    mask = torch.rand(6, 5) < 0.7
    mask[2] = False
    weight = weights(mask, mode, 10)

    def loss(rows: slice) -> torch.Tensor:
        gain, _ = clipped_gain(logp[rows], old[rows], advantages[rows], 0.2, 0.2)
        return (weight[rows] * (kl_loss(logp[rows], old[rows], reference[rows], "k3", "k2") - gain)).sum()

    whole = gradient(loss(slice(None)), logp)
    assert (whole[~mask] == 0).all()
    for bounds in itertools.chain(itertools.combinations(range(1, 6), 1), itertools.combinations(range(1, 6), 2)):
        cuts = [slice(*pair) for pair in itertools.pairwise((0, *bounds, 6))]
        torch.testing.assert_close(sum(gradient(loss(rows), logp) for rows in cuts), whole, atol=1e-15, rtol=1e-13)
