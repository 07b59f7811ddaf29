"""V-trace and TD(lambda) against their sums written out anew for every token, in float64; and packed sequences."""

from __future__ import annotations

import math
from collections.abc import Iterator

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import Tensor

from rlaif_kernels import reference as ref

SETTINGS = hypothesis.settings(max_examples=60, deadline=None, derandomize=True)


def episodes(mask: list[bool], dones: list[bool]) -> Iterator[list[int]]:
    """The positions of each episode of a row, masked-out ones left out."""
    kept = [t for t, here in enumerate(mask) if here]
    start = 0
    for stop, t in enumerate(kept, start=1):
        if dones[t] or stop == len(kept):
            yield kept[start:stop]
            start = stop


def problem(seed: int, rows: int, steps: int, kept: float) -> dict[str, Tensor]:
    """Ragged rows with holes, and NaN off the mask."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, steps, generator=generator) < kept
    real = [torch.randn(rows, steps, generator=generator, dtype=torch.float64) for _ in range(4)]
    names = ("log_ratios", "rewards", "values")
    return {
        **{name: each.masked_fill(~mask, math.nan) for name, each in zip(names, real, strict=False)},
        "mask": mask,
        "dones": torch.rand(rows, steps, generator=generator) < 0.2,
        "next_values": real[3],
    }


problems = st.builds(
    problem, st.integers(0, 2**31), st.integers(1, 3), st.integers(0, 9), st.sampled_from([0.0, 0.3, 0.8, 1.0])
)


@SETTINGS
@hypothesis.given(x=problems, gamma=st.sampled_from([1.0, 0.9, 0.0]), lam=st.sampled_from([1.0, 0.7, 0.0]))
def test_vtrace_is_the_sum_of_the_paper(x: dict[str, Tensor], gamma: float, lam: float) -> None:
    """Espeholt et al. (2018), eq. 1: v_s = V_s + sum_t gamma^(t-s) (prod_{i<t} c_i) rho_t delta_t."""
    rho_clip, trace_clip = 1.2, 0.8
    targets, advantages = ref.vtrace(**x, gamma=gamma, lam=lam, rho_clip=rho_clip, trace_clip=trace_clip)
    for b in range(len(targets)):
        row = {name: each[b].tolist() for name, each in x.items()}
        wanted, gains = [0.0] * len(row["mask"]), [0.0] * len(row["mask"])
        for episode in episodes(row["mask"], row["dones"]):
            ratio = [math.exp(row["log_ratios"][t]) for t in episode]
            rho, trace = [min(rho_clip, r) for r in ratio], [lam * min(trace_clip, r) for r in ratio]
            value = [row["values"][t] for t in episode]
            after = [*value[1:], row["next_values"][episode[-1]]]
            delta = [row["rewards"][t] + gamma * after[i] - value[i] for i, t in enumerate(episode)]
            for s, t in enumerate(episode):
                wanted[t] = value[s] + math.fsum(
                    gamma ** (k - s) * math.prod(trace[s:k]) * rho[k] * delta[k] for k in range(s, len(episode))
                )
            for s, t in enumerate(episode):
                follows = wanted[episode[s + 1]] if s + 1 < len(episode) else after[s]
                gains[t] = rho[s] * (row["rewards"][t] + gamma * follows - value[s])
        assert targets[b].tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-12)
        assert advantages[b].tolist() == pytest.approx(gains, rel=1e-12, abs=1e-12)


@SETTINGS
@hypothesis.given(x=problems, gamma=st.sampled_from([1.0, 0.9]), lam=st.sampled_from([1.0, 0.7, 0.0]))
def test_lambda_returns_are_the_mixture_of_all_n_step_returns(x: dict[str, Tensor], gamma: float, lam: float) -> None:
    """Sutton & Barto (2018), eq. 12.3: (1 - lam) sum_n lam^(n-1) G_{t:t+n}, what is left of the weight on the last."""
    given = {name: each for name, each in x.items() if name != "log_ratios"}
    found = ref.lambda_returns(**given, gamma=gamma, lam=lam)
    for b in range(len(found)):
        row = {name: each[b].tolist() for name, each in x.items()}
        wanted = [0.0] * len(row["mask"])
        for episode in episodes(row["mask"], row["dones"]):
            after = [row["values"][t] for t in episode[1:]] + [row["next_values"][episode[-1]]]
            for s, t in enumerate(episode):
                left = len(episode) - s
                returns = [
                    math.fsum(gamma**k * row["rewards"][episode[s + k]] for k in range(n)) + gamma**n * after[s + n - 1]
                    for n in range(1, left + 1)
                ]
                weights = [(1 - lam) * lam ** (n - 1) for n in range(1, left)] + [lam ** (left - 1)]
                wanted[t] = math.fsum(w * r for w, r in zip(weights, returns, strict=True))
        assert found[b].tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-12)


def test_vtrace_on_policy_is_td_lambda() -> None:
    x = problem(3, 2, 12, 0.8)
    x["log_ratios"] = torch.zeros(2, 12, dtype=torch.float64)
    targets, _ = ref.vtrace(**x, gamma=0.9, lam=0.7)
    del x["log_ratios"]
    torch.testing.assert_close(targets, ref.lambda_returns(**x, gamma=0.9, lam=0.7))


@pytest.mark.parametrize("name", ["gae", "vtrace", "lambda_returns", "discounted_returns"])
def test_packed_sequences_are_rows_and_each_has_its_rates(name: str) -> None:
    lengths = torch.tensor([4, 0, 7, 1])
    x = problem(5, 4, 7, 0.8)
    there = torch.arange(7) < lengths[:, None]
    x["mask"] &= there
    unread = {"discounted_returns": {"log_ratios", "values", "next_values"}, "vtrace": set()}
    given = {k: v for k, v in x.items() if k not in unread.get(name, {"log_ratios"})}
    gamma = torch.tensor([0.9, 0.5, 0.99, 0.8])
    packed = {k: v[there] for k, v in given.items()}
    offsets = torch.tensor([0, 4, 4, 11, 12], dtype=torch.int32)
    dense = getattr(ref, name)(**given, gamma=gamma)
    flat = getattr(ref, name)(**packed, gamma=gamma, cu_seqlens=offsets)
    for whole, part in zip(*[one if isinstance(one, tuple) else (one,) for one in (dense, flat)], strict=True):
        assert torch.equal(whole[there], part)
    third = getattr(ref, name)(**{k: v[2:3] for k, v in given.items()}, gamma=0.99)
    for whole, part in zip(*[one if isinstance(one, tuple) else (one,) for one in (dense, third)], strict=True):
        torch.testing.assert_close(whole[2:3], part, rtol=1e-6, atol=1e-6)
