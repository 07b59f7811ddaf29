"""Log-probs and losses of a linear layer by the textbook, one float after the other; groups likewise; and gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rlaif_kernels import reference as ref

Z: dict[str, dict[str, Any]] = {
    "plain": {},
    "capped": {"softcap": 2.0, "scale": -0.7, "temperature": 1.3},
    "a temperature a row": {"temperature": torch.tensor([0.5, 1.0, 2.0, 0.8], dtype=torch.float64)},
}


def z_by_hand(hidden: Tensor, weight: Tensor, bias: Tensor, row: int, tokens: list[int], **options: Any) -> list[float]:
    temperature, softcap = options.get("temperature", 1.0), options.get("softcap")
    if isinstance(temperature, Tensor):
        temperature = temperature[row].item()
    found = []
    for token in tokens:
        x = math.fsum(a * b for a, b in zip(hidden[row].tolist(), weight[token].tolist(), strict=True))
        x = options.get("scale", 1.0) * (x + bias[token].item())
        found.append((x if softcap is None else softcap * math.tanh(x / softcap)) / temperature)
    return found


def said_by_hand(z: list[float], place: int) -> tuple[float, float]:
    """Log-prob and entropy."""
    most = max(z)
    lse = most + math.log(math.fsum(math.exp(each - most) for each in z))
    return z[place] - lse, math.fsum(math.exp(each - lse) * (lse - each) for each in z)


def head() -> tuple[Tensor, Tensor, Tensor]:
    return tuple(torch.randn(*shape, dtype=torch.float64) for shape in ((4, 3), (7, 3), (7,)))  # type: ignore[return-value]


TARGETS = torch.tensor([2, -100, 6, 0])
KEPT = torch.tensor([[5, 2, -1], [3, 1, 0], [6, -1, -1], [1, 4, 3]])


@pytest.mark.parametrize("case", Z)
def test_log_probs_are_the_textbooks(case: str) -> None:
    hidden, weight, bias = head()
    whole = ref.linear_logprobs(hidden, weight, TARGETS, bias=bias, entropy=True, **Z[case])
    some = ref.kept_logprobs(hidden, weight, TARGETS, KEPT, bias=bias, entropy=True, **Z[case])
    for row, target in enumerate(TARGETS.tolist()):
        kept = [token for token in KEPT[row].tolist() if token >= 0]
        for found, tokens in ((whole, list(range(7))), (some, kept)):
            z = z_by_hand(hidden, weight, bias, row, tokens, **Z[case])
            wanted = (0.0, 0.0) if target < 0 else said_by_hand(z, tokens.index(target) if target in tokens else 0)
            if target >= 0 and target not in tokens:
                wanted = (-math.inf, wanted[1])
            assert [one[row].item() for one in found] == pytest.approx(wanted, rel=1e-12, abs=1e-12)


def test_a_policy_loss_is_the_textbooks() -> None:
    hidden, weight, bias = head()
    mask = torch.tensor([[True, False], [True, True]])
    old, advantages = torch.randn(2, 2, 2, dtype=torch.float64) * 0.5
    options = {"softcap": 2.0, "scale": 0.7, "temperature": 1.3}
    targets = TARGETS.clamp(min=0).view(2, 2)
    said = ref.linear_policy_loss(
        hidden.view(2, 2, 3), weight, targets, old - 2, advantages, mask, bias=bias, entropy_weight=0.3, **options
    )
    total = 0.0
    for b, t in itertools.product(range(2), range(2)):
        if not mask[b, t]:
            continue
        z = z_by_hand(hidden, weight, bias, 2 * b + t, list(range(7)), **options)
        logp, spread = said_by_hand(z, int(targets[b, t]))
        ratio, gain = math.exp(logp - old[b, t].item() + 2), advantages[b, t].item()
        total -= (min(ratio * gain, min(max(ratio, 0.8), 1.2) * gain) + 0.3 * spread) / 3
        assert [said.logp[b, t].item(), said.entropy[b, t].item()] == pytest.approx((logp, spread), rel=1e-12)
    assert said.loss.item() == pytest.approx(total, rel=1e-12)


GRADIENTS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Any]] = {
    "linear_logprobs": lambda h, w, b, t: ref.linear_logprobs(h, w, TARGETS, bias=b, temperature=t, softcap=2.0,
                                                              entropy=True),
    "kept_logprobs": lambda h, w, b, t: ref.kept_logprobs(h, w, KEPT[:, 0].where(TARGETS >= 0, -100), KEPT, bias=b,
                                                          temperature=t, scale=0.7, entropy=True),
    "linear_policy_loss": lambda h, w, b, t: ref.linear_policy_loss(
        h[None], w, TARGETS.clamp(min=0)[None], torch.full((1, 4), -2.0), torch.ones(1, 4), TARGETS[None] >= 0, bias=b,
        temperature=t[None], entropy_weight=0.3, low=0.9, high=9.0).loss,
    "group_normalise": lambda h, w, b, t: ref.group_normalise(  # of which one is alone
        torch.cat([h[:, 0], t]), torch.tensor([0, 1, 0, 1, 0, 1, 0, 3]), torch.arange(8) != 3),
}  # fmt: skip


@pytest.mark.parametrize("operation", GRADIENTS)
def test_gradients_are_the_numerical_ones(operation: str) -> None:
    temperature = torch.tensor([0.5, 1.0, 2.0, 0.8], dtype=torch.float64)
    leaves = [one.requires_grad_() for one in (*head(), temperature)]
    assert torch.autograd.gradcheck(GRADIENTS[operation], leaves)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("scale", ["std", "none"])
def test_groups_are_the_textbooks(scale: Any, unbiased: bool) -> None:
    """Groups of five, of one, of equal numbers and of what is masked but for one; NaN off the mask."""
    group = torch.tensor([9, 2, 9, 9, 4, 2, 9, 2, 7, 9, 7, 2])
    mask = torch.tensor([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1], dtype=torch.bool)
    x = (torch.randn(12, dtype=torch.float64) * 2 - 8).where(group != 2, 0.1).masked_fill(~mask, math.nan)
    found = ref.group_normalise(x, group, mask, scale=scale, unbiased=unbiased)
    for i, label in enumerate(group.tolist()):
        members = [x[j].item() for j in range(12) if group[j] == label and mask[j]]
        mean = math.fsum(members) / len(members)
        spread = math.sqrt(math.fsum((m - mean) ** 2 for m in members) / max(len(members) - unbiased, 1))
        wanted = 0.0 if label != 9 else (x[i].item() - mean) / (spread if scale == "std" else 1.0)
        assert found[i].item() == pytest.approx(wanted, rel=1e-12, abs=0)


def test_what_is_noise_and_what_is_not() -> None:
    group, mask = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.bool)
    apart = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    assert not ref.group_normalise(1 + 1.9e-6 * apart, group, mask).any()  # a spread of 0.95e-6
    for far in (1 + 2.1e-6 * apart, 1 + 1e-2 * apart):
        torch.testing.assert_close(ref.group_normalise(far, group, mask), 2 * apart - 1, rtol=1e-6, atol=1e-6)
    tenths, together = torch.full((8,), 0.1), torch.zeros(8, dtype=torch.int64)  # whose sum is rounded
    for mask in (torch.arange(8) < 8, torch.arange(8) < 7):
        assert not ref.group_normalise(tenths, together, mask, noise=0.0).any()
