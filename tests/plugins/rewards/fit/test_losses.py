from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlaif_rewards.fit.losses import (
    centring,
    cross_entropy,
    flips,
    margin,
    outcomes,
    plackett_luce,
    preference,
    swayed,
    unsure,
)

WIN = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
numbers = st.floats(-20, 20)
MODELS = [("none", 0.0), ("davidson", 0.7), ("davidson", -2.0), ("rao_kupper", 0.4), ("rao_kupper", 2.0)]


def number(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def test_equal_scores_cost_log_two() -> None:
    assert preference(outcomes(number(0.0)), WIN).item() == pytest.approx(math.log(2))


@given(numbers, st.sampled_from(MODELS))
def test_chances_sum_to_one_and_exchange_with_the_pair(difference: float, model: tuple[str, float]) -> None:
    ties, strength = model
    there, back = (outcomes(number(sign * difference), ties=ties, strength=strength) for sign in (1, -1))
    assert there.exp().sum().item() == pytest.approx(1)
    torch.testing.assert_close(there, back.flip(-1))


@given(numbers, numbers, st.sampled_from(MODELS))
def test_the_gradient_is_antisymmetric_and_a_shift_changes_nothing(
    first: float, second: float, model: tuple[str, float]
) -> None:
    ties, strength = model
    scores = torch.tensor([first, second], dtype=torch.float64, requires_grad=True)

    def loss(shift: float) -> torch.Tensor:
        moved = scores + shift
        return preference(outcomes((moved[0] - moved[1])[None], ties=ties, strength=strength), WIN).sum()

    (gradient,) = torch.autograd.grad(loss(0.0), scores)
    assert gradient[0].item() == pytest.approx(-gradient[1].item(), abs=1e-12)
    assert loss(3.0).item() == pytest.approx(loss(0.0).item(), abs=1e-9)


@given(numbers)
def test_without_ties_all_models_are_bradley_terry(difference: float) -> None:
    plain = outcomes(number(difference))[0, [0, 2]]
    for ties, strength in (("davidson", -math.inf), ("rao_kupper", 0.0)):
        found = outcomes(number(difference), ties=ties, strength=strength)[0]
        torch.testing.assert_close(found[[0, 2]], plain)
        assert found[1] == -math.inf


@pytest.mark.parametrize("difference", [-1.3, 0.0, 0.8])
def test_ties_are_as_in_the_papers(difference: float) -> None:
    one, other, nu, theta = math.exp(difference), 1.0, 0.6, 1.5
    whole = one + other + nu * math.sqrt(one * other)
    davidson = [one / whole, nu * math.sqrt(one * other) / whole, other / whole]
    assert outcomes(number(difference), ties="davidson", strength=math.log(nu))[0].exp().tolist() == pytest.approx(
        davidson
    )
    kupper = [
        one / (one + theta * other),
        (theta**2 - 1) * one * other / ((one + theta * other) * (theta * one + other)),
        other / (theta * one + other),
    ]
    assert outcomes(number(difference), ties="rao_kupper", strength=math.log(theta))[0].exp().tolist() == (
        pytest.approx(kupper)
    )


@given(numbers, st.floats(0.01, 0.99))
def test_an_annotators_reliability_mixes_both_orders(difference: float, eta: float) -> None:
    plain = outcomes(number(difference)).exp()[0]
    mixed = swayed(outcomes(number(difference)), number(eta)).exp()[0]
    assert mixed[0].item() == pytest.approx(eta * plain[0].item() + (1 - eta) * plain[2].item())
    assert mixed.sum().item() == pytest.approx(1)


def test_a_margin_is_what_the_preferred_must_lead_by() -> None:
    targets = torch.tensor([[1.0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]])
    moved = margin(torch.tensor([2.0, 2.0, 2.0]), targets, torch.tensor([0.5, 0.5, 0.5]))
    assert moved.tolist() == [1.5, 2.5, 2.0]


def test_centring_is_zero_where_the_pair_is_centred() -> None:
    assert centring(torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 1.0])).tolist() == [0.0, 9.0]


def test_doubt_is_one_row_in_all_and_two_more() -> None:
    labels = unsure(torch.eye(3), pairs=False)
    assert labels[0].tolist() == pytest.approx([0.8, 0.1, 0.1])
    pairs = unsure(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), pairs=True)
    assert pairs.tolist() == [pytest.approx([0.75, 0.0, 0.25]), pytest.approx([0.0, 1.0, 0.0])]


def test_labels_without_noise_cost_the_plain_cross_entropy() -> None:
    logits, labels = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 1, 0])
    targets = torch.nn.functional.one_hot(labels, 3).double()
    plain = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    torch.testing.assert_close(cross_entropy(logits, targets), plain)
    torch.testing.assert_close(cross_entropy(logits, targets, flips(3, 0.0)), plain)


def test_noise_is_corrected_by_what_is_written_down() -> None:
    logits = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    p = logits.softmax(1)[0, 0].item()
    targets = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    found = cross_entropy(logits, targets, flips(2, 0.2)).item()
    assert found == pytest.approx(-math.log(0.8 * p + 0.2 * (1 - p)))
    assert flips(3, 0.3).sum(1).tolist() == pytest.approx([1, 1, 1])


def test_gradients_stay_finite_at_the_edges() -> None:
    for ties, strength in (("none", 0.0), ("davidson", -math.inf), ("davidson", 1.0), ("rao_kupper", 1.0)):
        difference = torch.tensor([1000.0, -1000.0, 0.0], dtype=torch.float64, requires_grad=True)
        logp = outcomes(difference, ties=ties, strength=strength)
        preference(swayed(logp, torch.full((3,), 0.9, dtype=torch.float64)), WIN.expand(3, 3)).sum().backward()
        assert difference.grad.isfinite().all()


def ranked(scores: torch.Tensor) -> float:
    """By `plackett_luce`, the cost of a list in this order, the best first."""
    pairs = [(one, other) for one in range(len(scores)) for other in range(one + 1, len(scores))]
    gaps = torch.stack([scores[one] - scores[other] for one, other in pairs])
    return plackett_luce(gaps, torch.tensor([7 * one for one, _ in pairs])).sum().item()


@given(st.lists(numbers, min_size=2, max_size=4))
def test_the_chances_of_all_orders_are_those_of_taking_the_best_of_what_is_left(values: list[float]) -> None:
    scores = torch.tensor(values, dtype=torch.float64)
    total = 0.0
    for order in permutations(range(len(values))):
        left, cost = list(order), 0.0
        while left:
            cost += (scores[left].logsumexp(0) - scores[left.pop(0)]).item()
        assert ranked(scores[list(order)]) == pytest.approx(cost, abs=1e-9)
        total += math.exp(-cost)
    assert total == pytest.approx(1)


@given(st.floats(-800, 800))
def test_of_two_answers_plackett_luce_is_bradley_terry(gap: float) -> None:
    both = [number(gap).requires_grad_() for _ in range(2)]
    costs = plackett_luce(both[0], torch.tensor([3])), preference(outcomes(both[1]), WIN)
    slopes = [torch.autograd.grad(cost.sum(), its)[0].item() for cost, its in zip(costs, both, strict=True)]
    assert costs[0].item() == pytest.approx(costs[1].item(), rel=1e-9, abs=1e-12)
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-9, abs=1e-12)
