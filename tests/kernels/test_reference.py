"""The definitions against the formulas written out, with none of their recursion, in float64."""

from __future__ import annotations

import itertools
import math

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import Tensor

from rlaif_kernels import reference as ref
from sums import Row, episodes, gae_by_double_sum


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Tensor | None]:
    """Ragged rows with holes, ends anywhere, and garbage wherever the definition says nothing is read."""
    rows, steps = draw(st.integers(1, 4)), draw(st.integers(0, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def real() -> Tensor:
        return torch.randn(rows, steps, generator=generator, dtype=torch.float64)

    mask = torch.rand(rows, steps, generator=generator) < draw(st.sampled_from([0.0, 0.3, 0.8, 1.0]))
    dones = torch.rand(rows, steps, generator=generator) < 0.3 if draw(st.booleans()) else None
    after = real() if draw(st.booleans()) else None
    garbage = draw(st.sampled_from([math.nan, math.inf, 1e30]))
    rewards, values = (real().masked_fill(~mask, garbage) for _ in range(2))
    if after is not None:
        read = torch.zeros_like(mask)
        for b in range(rows):
            for episode in episodes(mask[b].tolist(), None if dones is None else dones[b].tolist()):
                read[b, episode[-1]] = True
        after = after.masked_fill(~read, garbage)
    return {"rewards": rewards, "values": values, "mask": mask, "dones": dones, "next_values": after}


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@hypothesis.given(problem=problems(), gamma=st.sampled_from([1.0, 0.9, 0.0]), lam=st.sampled_from([1.0, 0.95, 0.0]))
def test_gae_is_the_double_sum(problem: dict[str, Tensor | None], gamma: float, lam: float) -> None:
    advantages, returns = ref.gae(**problem, gamma=gamma, lam=lam)
    for b in range(len(advantages)):
        row = {name: None if x is None else x[b].tolist() for name, x in problem.items()}
        wanted = gae_by_double_sum(*(row[k] for k in ("rewards", "values", "mask", "dones", "next_values")), gamma, lam)
        assert advantages[b].tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-12)
        sums = [a + v if here else 0.0 for a, v, here in zip(wanted, row["values"], row["mask"], strict=True)]
        assert returns[b].tolist() == pytest.approx(sums, rel=1e-12, abs=1e-12)


def test_gae_by_hand() -> None:
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.25, 0.0]])
    advantages, returns = ref.gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), gamma=0.5, lam=0.5)
    # delta = -0.375, -0.25, 1; A_2 = 1, A_1 = -0.25 + 0.25 * 1, A_0 = -0.375 + 0.25 * 0
    assert advantages.tolist() == [[-0.375, 0.0, 1.0]]
    assert returns.tolist() == [[0.125, 0.25, 1.0]]


def test_gae_over_holes_is_gae_over_what_is_left() -> None:
    rewards, values = torch.randn(2, 1, 8, dtype=torch.float64)
    kept = torch.tensor([0, 1, 0, 0, 1, 1, 0, 1], dtype=torch.bool)
    holes = ref.gae(rewards, values, kept.unsqueeze(0), gamma=0.9, lam=0.8)
    whole = ref.gae(rewards[:, kept], values[:, kept], torch.ones(1, 4, dtype=torch.bool), gamma=0.9, lam=0.8)
    for with_holes, without in zip(holes, whole, strict=True):
        assert torch.equal(with_holes[:, kept], without)
        assert not with_holes[:, ~kept].any()


def test_gae_does_not_look_past_the_end_of_an_episode() -> None:
    rewards, values = torch.randn(2, 1, 6, dtype=torch.float64)
    mask, dones = torch.ones(1, 6, dtype=torch.bool), torch.zeros(1, 6, dtype=torch.bool)
    dones[0, 2] = True
    first = ref.gae(rewards, values, mask, dones=dones)[0][:, :3]
    rewards[:, 3:] = 100.0
    assert torch.equal(ref.gae(rewards, values, mask, dones=dones)[0][:, :3], first)


def test_gae_bootstraps_from_what_follows_a_truncation() -> None:
    """A row cut in two, the first half told the value of what follows, differs from the whole row by the carry only."""
    rewards, values = torch.randn(2, 1, 6, dtype=torch.float64)
    mask = torch.ones(1, 6, dtype=torch.bool)
    whole = ref.gae(rewards, values, mask, gamma=0.9, lam=0.7)[0]
    after = torch.full((1, 3), math.nan, dtype=torch.float64)
    after[0, 2] = values[0, 3]
    half = ref.gae(rewards[:, :3], values[:, :3], mask[:, :3], gamma=0.9, lam=0.7, next_values=after)[0]
    carry = torch.tensor([(0.9 * 0.7) ** n for n in (3, 2, 1)]) * whole[0, 3]
    torch.testing.assert_close(half[0], whole[0, :3] - carry)


def test_gae_is_detached() -> None:
    values = torch.zeros(1, 2, requires_grad=True)
    advantages, returns = ref.gae(torch.ones(1, 2), values, torch.ones(1, 2, dtype=torch.bool))
    assert not advantages.requires_grad
    assert not returns.requires_grad


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(problem=problems(), gamma=st.sampled_from([1.0, 0.9, 0.0]))
def test_discounted_returns_are_the_discounted_sums(problem: dict[str, Tensor | None], gamma: float) -> None:
    got = ref.discounted_returns(problem["rewards"], problem["mask"], gamma=gamma, dones=problem["dones"])
    for b, row in enumerate(problem["rewards"].tolist()):
        dones = None if problem["dones"] is None else problem["dones"][b].tolist()
        wanted = [0.0] * len(row)
        for episode in episodes(problem["mask"][b].tolist(), dones):
            for i, t in enumerate(episode):
                wanted[t] = math.fsum(gamma ** (k - i) * row[episode[k]] for k in range(i, len(episode)))
        assert got[b].tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-12)


def logp_and_entropy(row: Row, target: int, temperature: float, softcap: float | None, scale: float) -> Row:
    """Both by the textbook, one exponential at a time."""
    capped = [x * scale if softcap is None else softcap * math.tanh(x * scale / softcap) for x in row]
    odds = [math.exp(u / temperature) for u in capped]
    p = [o / math.fsum(odds) for o in odds]
    return [math.log(p[target]), -math.fsum(q * math.log(q) for q in p if q > 0)]


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_token_logprobs_is_the_textbook(softcap: float | None, scale: float, temperature: float) -> None:
    logits, targets = torch.randn(3, 4, 7, dtype=torch.float64) * 3, torch.randint(7, (3, 4))
    options = {"temperature": temperature, "softcap": softcap, "scale": scale}
    logp, entropy = ref.token_logprobs(logits, targets, **options, entropy=True)
    for index in itertools.product(range(3), range(4)):
        wanted = logp_and_entropy(logits[index].tolist(), int(targets[index]), **options)
        assert [logp[index].item(), entropy[index].item()] == pytest.approx(wanted, rel=1e-12, abs=1e-12)
    assert torch.equal(ref.token_logprobs(logits, targets, **options), logp)


def test_token_logprobs_takes_a_temperature_a_token() -> None:
    logits, targets = torch.randn(2, 3, 5), torch.randint(5, (2, 3))
    temperature = torch.tensor([[0.5, 1.0, 2.0], [3.0, 0.7, 1.5]])
    got = ref.token_logprobs(logits, targets, temperature=temperature)
    for b, t in itertools.product(range(2), range(3)):
        alone = ref.token_logprobs(logits[b, t], targets[b, t], temperature=temperature[b, t].item())
        torch.testing.assert_close(got[b, t], alone)


@pytest.mark.parametrize("entropy", [False, True])
def test_token_logprobs_gradient_is_the_numerical_one(entropy: bool) -> None:
    logits = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[0, 4, -100], [2, -100, 1]])

    def run(x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return ref.token_logprobs(x, targets, temperature=0.7, softcap=3.0, scale=1.3, entropy=entropy)

    assert torch.autograd.gradcheck(run, (logits,))


def test_ignored_positions_give_zero_and_get_no_gradient_whatever_they_hold() -> None:
    targets = torch.tensor([[1, -100, 2]])
    logits = torch.randn(1, 3, 4)
    clean = logits.clone().requires_grad_()
    dirty = logits.clone()
    dirty[0, 1] = math.nan
    dirty.requires_grad_()
    warm, hot = (torch.tensor([[0.5, third, 2.0]], requires_grad=True) for third in (1.0, math.nan))
    for x, temperature in ((clean, warm), (dirty, hot)):
        logp, entropy = ref.token_logprobs(x, targets, temperature=temperature, entropy=True)
        (logp.sum() + entropy.sum()).backward()
        assert logp[0, 1] == entropy[0, 1] == 0
    for one, other in ((clean, dirty), (warm, hot)):
        assert torch.equal(one.grad, other.grad)
        assert not other.grad[0, 1].any()


@pytest.mark.parametrize("forbidden", [-math.inf, torch.finfo(torch.float32).min])
def test_a_forbidden_token_has_no_probability_and_makes_no_nan(forbidden: float) -> None:
    logits = torch.tensor([[1.0, forbidden, 0.0]], requires_grad=True)
    logp, entropy = ref.token_logprobs(logits, torch.tensor([0]), entropy=True)
    p = torch.tensor([1.0, 0.0]).softmax(0)
    torch.testing.assert_close(logp, p[:1].log())
    torch.testing.assert_close(entropy, -(p * p.log()).sum(0, keepdim=True))
    (logp + 10 * entropy).sum().backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 1] == 0


def test_half_precision_logits_are_widened_before_they_are_summed() -> None:
    logits, targets = torch.randn(8, 4096).bfloat16() * 3, torch.randint(4096, (8,))
    got = ref.token_logprobs(logits, targets, entropy=True)
    exact = ref.token_logprobs(logits.double(), targets, entropy=True)
    for half, double in zip(got, exact, strict=True):
        assert half.dtype == torch.float32
        torch.testing.assert_close(half.double(), double, rtol=2e-6, atol=2e-6)


def test_entropy_of_a_peaked_distribution_does_not_cancel() -> None:
    """One token holds all but 2e-11 of the mass. What float32 must lose is that token's own 4 %; the difference of two
    numbers near 100, lse - sum p z, would be wrong by 10,000 times the entropy."""
    logits = torch.tensor([100.0, 75.0, 74.0])
    entropy = ref.token_logprobs(logits, torch.tensor(0), entropy=True)[1]
    wanted = ref.token_logprobs(logits.double(), torch.tensor(0), entropy=True)[1]
    torch.testing.assert_close(entropy.double(), wanted, rtol=0.05, atol=0)


def test_a_target_outside_the_vocabulary_is_an_error() -> None:
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        ref.token_logprobs(torch.zeros(1, 4), torch.tensor([4]))


def test_masked_whiten_is_the_z_score_of_what_is_kept() -> None:
    x, mask = torch.randn(3, 5, dtype=torch.float64) * 4 + 7, torch.rand(3, 5) < 0.6
    got = ref.masked_whiten(x.masked_fill(~mask, math.nan), mask)
    kept = x[mask].tolist()
    mean = math.fsum(kept) / len(kept)
    deviation = math.sqrt(math.fsum((k - mean) ** 2 for k in kept) / len(kept) + 1e-8)
    assert got[mask].tolist() == pytest.approx([(k - mean) / deviation for k in kept], rel=1e-12)
    assert not got[~mask].any()


def test_masked_whiten_survives_a_large_mean() -> None:
    x, mask = torch.tensor([[10_000.0, 10_001.0, 10_002.0]]), torch.ones(1, 3, dtype=torch.bool)
    torch.testing.assert_close(ref.masked_whiten(x, mask), torch.tensor([[-1.0, 0.0, 1.0]]) * math.sqrt(1.5))


@pytest.mark.parametrize("kept", [0, 1, 4], ids=["nothing", "one", "equal"])
def test_masked_whiten_of_what_has_no_spread_is_zero(kept: int) -> None:
    x, mask = torch.full((1, 4), 3.0), torch.arange(4).unsqueeze(0) < kept
    assert torch.equal(ref.masked_whiten(x, mask), torch.zeros(1, 4))


def test_masked_whiten_is_differentiable() -> None:
    mask = torch.tensor([[True, False, True, True]])
    x = torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: ref.masked_whiten(y, mask), (x,))
