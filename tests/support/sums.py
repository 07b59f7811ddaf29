"""Advantages as sums written out anew for each token, which share no recursion with anyone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import rlaif_kernels as rk

Row = list[float]


def episodes(mask: list[bool], dones: list[bool] | None) -> Iterator[list[int]]:
    """The positions of each episode of a row, masked-out ones left out."""
    kept = [t for t, here in enumerate(mask) if here]
    ends = {t for t in kept if dones is not None and dones[t]} | set(kept[-1:])
    start = 0
    for stop, t in enumerate(kept, start=1):
        if t in ends:
            yield kept[start:stop]
            start = stop


def gae_by_double_sum(
    rewards: Row, values: Row, mask: list[bool], dones: list[bool] | None, after: Row | None, gamma: float, lam: float
) -> Row:
    """A_t = sum over k >= t of (gamma lam)^(k - t) (r_k + gamma V_next - V_k), summed anew for each t."""
    out = [0.0] * len(rewards)
    for episode in episodes(mask, dones):
        following = [values[t] for t in episode[1:]] + [after[episode[-1]] if after else 0.0]
        delta = [rewards[t] + gamma * f - values[t] for t, f in zip(episode, following, strict=True)]
        for i, t in enumerate(episode):
            out[t] = math.fsum((gamma * lam) ** (k - i) * delta[k] for k in range(i, len(episode)))
    return out


def gae_agrees(impl: Any, shape: tuple[int, int], device: str) -> None:
    """Rows with holes and several episodes, and NaN off the mask; a γ and a λ a row."""
    mask, dones = torch.rand(shape) < 0.7, torch.rand(shape) < 0.2
    rewards, values = torch.randn(2, *shape).masked_fill(~mask, math.nan)
    gammas, lams, after = torch.linspace(0.5, 1, shape[0]), torch.linspace(1, 0, shape[0]), torch.randn(shape)
    tensors = [one.to(device) for one in (rewards, values, mask)]
    options = {"gamma": gammas, "lam": lams, "dones": dones, "next_values": after}
    said = rk.gae(*tensors, **{name: one.to(device) for name, one in options.items()}, impl=impl)
    for b in range(shape[0]):
        row = [one[b].double().tolist() for one in (rewards, values)]
        flags = mask[b].tolist(), dones[b].tolist()
        wanted = gae_by_double_sum(*row, *flags, after[b].double().tolist(), float(gammas[b]), float(lams[b]))
        sums = [a + v if here else 0.0 for a, v, here in zip(wanted, row[1], flags[0], strict=True)]
        assert said[0][b].tolist() == pytest.approx(wanted, rel=1e-5, abs=1e-5)
        assert said[1][b].tolist() == pytest.approx(sums, rel=1e-5, abs=1e-5)
