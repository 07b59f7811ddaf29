from __future__ import annotations

import math

import pytest
import torch

import rlaif_kernels as rk
from rlaif_builtins.optimisers.losses import (
    clipped_value_loss,
    drift,
    length_fits,
    pair_loss,
    steered,
    weights,
)
from rlaif_core import TrainingError

MODES = ("token_mean", "sequence_mean", "sequence_sum", "constant")
MASK = torch.tensor([[0, 1, 1, 1, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [1, 1, 0, 1, 1]]).bool()  # 3, 0, 1 and 4 tokens


def gradient(value: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(value, of)[0]


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


def test_drift_reports_a_parts_share_of_what_the_loss_measured() -> None:
    old, logp = torch.tensor([[-1.0, -2.0, 0.0]]), torch.tensor([[-0.5, -2.3, 9.0]])
    mask, entropy = torch.tensor([[True, True, False]]), torch.tensor([[0.3, 0.7, 9.0]])
    found = drift(rk.policy_loss(logp, old, torch.ones(1, 3), mask, entropy=entropy), 0.25)
    assert {name: value.item() for name, value in found.items()} == {
        "clip_fraction": 0.125,
        "approx_kl": pytest.approx(((math.exp(0.5) - 1.5) + (math.exp(-0.3) - 0.7)) / 8),
        "entropy": 0.125,
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
