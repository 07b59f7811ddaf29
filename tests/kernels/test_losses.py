"""KL estimates in closed form; policy losses against sums written out token by token, and their slopes against those
sums' differences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_kernels import native
from rlaif_kernels.reference.losses import METRICS

# Three tokens to choose from: a policy, the reference it is compared with, and the policy that drew the samples.
POLICY, REFERENCE, SAMPLER = [0.2, -0.4, 1.1], [0.5, 0.3, -0.2], [-0.1, 0.4, 0.3]


@pytest.fixture(params=native.binary.variants() if native.missing is None else ["torch"])
def impl(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Once with each of the instruction sets that this processor has."""
    if native.missing is not None:
        return "torch"
    from rlaif_kernels.native import losses

    monkeypatch.setattr(losses, "variant", request.param)
    return "native"


def log_probs(logits: list[float]) -> Tensor:
    return torch.tensor(logits, dtype=torch.float64).log_softmax(0)


def gradient(value: Tensor, of: Tensor) -> Tensor:
    return torch.autograd.grad(value, of)[0]


def slope(value: Callable[[Tensor], Tensor]) -> Tensor:
    """The gradient with respect to POLICY's logits of a function of its log-probs."""
    logits = torch.tensor(POLICY, dtype=torch.float64, requires_grad=True)
    return gradient(value(logits.log_softmax(0)), logits)


# ---- the KL divergence


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_the_kl_in_expectation_and_k2_is_not(estimator: str) -> None:
    policy, reference = log_probs(POLICY), log_probs(REFERENCE)
    exact = (policy.exp() * (policy - reference)).sum()
    found = (policy.exp() * rk.kl_estimate(policy, reference, value=estimator)).sum()
    torch.testing.assert_close(found, exact)
    assert abs((policy.exp() * rk.kl_estimate(policy, reference, value="k2")).sum() - exact) > 0.01 * exact


def test_each_estimator_by_hand() -> None:
    logp, reference = torch.tensor([-1.0, -0.2, -3.0]), torch.tensor([-0.4, -1.7, -3.0])
    assert rk.kl_estimate(logp, reference, value="k1").tolist() == pytest.approx([-0.6, 1.5, 0])
    assert rk.kl_estimate(logp, reference, value="k2").tolist() == pytest.approx([0.18, 1.125, 0])
    assert rk.kl_estimate(logp, reference).tolist() == pytest.approx([math.exp(0.6) - 1.6, math.exp(-1.5) + 0.5, 0])
    assert (rk.kl_estimate(torch.randn(99), torch.randn(99)) >= 0).all()


def test_k3_of_close_log_probs_does_not_round_away() -> None:
    """e^d - 1 - d in float32 is noise below 1e-3, and at times negative."""
    for d in (1e-7, -1e-6, 1e-5, -1e-4, 3e-4, 9.9e-3, -1.01e-2, 0.3, -0.49, 0.51):
        near = torch.tensor([d], requires_grad=True)  # log-probs near 0, which d is exact at
        found = rk.kl_estimate(torch.zeros(1), near.detach())
        wanted = math.fsum(d**n / math.factorial(n) for n in range(2, 30))
        assert found.item() == pytest.approx(wanted, rel=1e-5)
        moving = torch.zeros(1, requires_grad=True)
        flow = gradient(rk.kl_estimate(moving, near.detach()).sum(), moving)
        assert flow.item() == pytest.approx(-math.expm1(d), rel=1e-6)


def test_gradients_of_the_estimators_in_expectation() -> None:
    """On the policy's own samples k1 pulls nowhere, k2 down the reverse KL, k3 down the forward KL."""
    drawn, reference = log_probs(POLICY).exp(), log_probs(REFERENCE)
    reverse = slope(lambda policy: (policy.exp() * (policy - reference)).sum())
    forward = slope(lambda policy: (reference.exp() * (reference - policy)).sum())
    assert (reverse - forward).abs().max() > 0.03
    for estimator, expected in (("k1", torch.zeros_like(reverse)), ("k2", reverse), ("k3", forward)):
        found = slope(lambda policy, kind=estimator: (drawn * rk.kl_estimate(policy, reference, value=kind)).sum())
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("value", ["k1", "k2", "k3"])
@pytest.mark.parametrize("descended", ["k1", "k2", "k3"])
def test_one_estimator_is_shown_and_another_descended(value: str, descended: str) -> None:
    policy, reference = log_probs(POLICY), log_probs(REFERENCE)
    both = rk.kl_estimate(policy, reference, value=value, gradient=descended)
    assert torch.equal(both, rk.kl_estimate(policy, reference, value=value))
    torch.testing.assert_close(
        slope(lambda policy: rk.kl_estimate(policy, reference, value=value, gradient=descended).sum()),
        slope(lambda policy: rk.kl_estimate(policy, reference, value=descended).sum()),
    )


def test_with_the_ratio_k2_descends_the_reverse_kl_on_another_policys_samples() -> None:
    reference, old = log_probs(REFERENCE), log_probs(SAMPLER)

    def descended(policy: Tensor) -> Tensor:
        ratio = (policy - old).exp()
        return (old.exp() * rk.kl_estimate(policy, reference, gradient="k2", ratio=ratio)).sum()

    torch.testing.assert_close(slope(descended), slope(lambda policy: (policy.exp() * (policy - reference)).sum()))


def test_k3_stays_what_it_is_from_20_nats_on() -> None:
    logp = torch.tensor([-19.0, -21.0, -500.0], dtype=torch.float64, requires_grad=True)
    found = rk.kl_estimate(logp, torch.zeros(3, dtype=torch.float64))
    assert found.tolist() == pytest.approx([math.exp(19) - 20, math.exp(20) - 21, math.exp(20) - 21])
    assert gradient(found.sum(), logp).tolist() == pytest.approx([1 - math.exp(19), 1 - math.exp(20), 1 - math.exp(20)])


def test_nothing_else_of_an_estimate_is_descended() -> None:
    logp, reference, ratio = (torch.rand(4, requires_grad=True) for _ in range(3))
    found = rk.kl_estimate(logp, reference, ratio=ratio).sum()
    slopes = torch.autograd.grad(found, (logp, reference, ratio), allow_unused=True)
    torch.testing.assert_close(slopes[0], -ratio.detach() * torch.expm1((reference - logp).detach()))
    assert slopes[1:] == (None, None)


# ---- weights


MODES = ("token_mean", "sequence_mean", "sequence_sum", "constant")


@pytest.mark.parametrize("mode", MODES)
def test_nothing_unmasked_weighs_nothing(mode: str) -> None:
    assert not rk.token_weights(torch.zeros(3, 4, dtype=torch.bool), mode, 10).any()


def test_weights_by_hand() -> None:
    mask = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 0, 1]], dtype=torch.bool)
    for mode, first, last in (("token_mean", 1 / 3, 1 / 3), ("sequence_mean", 1 / 4, 1 / 2),
                              ("sequence_sum", 1 / 2, 1 / 2), ("constant", 1 / 20, 1 / 20)):  # fmt: skip
        wanted = torch.tensor([[first, first, 0], [0, 0, 0], [0, 0, last]])
        torch.testing.assert_close(rk.token_weights(mask, mode, 10), wanted)


# ---- the policy loss


def by_hand(
    x: dict[str, list[list[float]]], mask: list[list[bool]], options: dict[str, Any]
) -> tuple[float, list[float]]:
    """The loss and the metrics, one token after the other; `frozen` log-probs stand where no gradient shall flow."""
    o = {"objective": "clip", "ratio": "token", "low": 0.2, "high": 0.2, "dual": None, "kl": 0.0, "kl_value": "k3",
         "entropy_weight": 0.0, "correction": None, "aggregation": "token_mean", "length": None, **options}  # fmt: skip
    lengths = [sum(row) for row in mask]
    answers, tokens = sum(n > 0 for n in lengths), sum(lengths)
    loss, sums, most = 0.0, [0.0] * 7, 0.0
    for b, row in enumerate(mask):
        steps = [t for t, here in enumerate(row) if here]
        mean = math.fsum(x["logp"][b][t] - x["old"][b][t] for t in steps) / max(len(steps), 1)
        for t in steps:
            weight = {
                "token_mean": 1 / tokens, "sequence_mean": 1 / (lengths[b] * answers), "sequence_sum": 1 / answers,
                "constant": 1 / (answers * (o["length"] or 1)),
            }[o["aggregation"]]  # fmt: skip
            apart, advantage = x["logp"][b][t] - x["old"][b][t], x["advantages"][b][t]
            r = math.exp(mean if o["ratio"] == "sequence" else apart)
            bounded = min(max(r, 1 - o["low"]), 1 + o["high"])
            if o["objective"] == "cispo":
                held = math.exp(
                    math.fsum(x["frozen"][b][s] - x["old"][b][s] for s in steps) / len(steps)
                    if o["ratio"] == "sequence"
                    else x["frozen"][b][t] - x["old"][b][t]
                )
                gain = min(max(held, 1 - o["low"]), 1 + o["high"]) * advantage * x["logp"][b][t]
                below, above, floored = r < 1 - o["low"], r > 1 + o["high"], False
            else:
                gain = min(r * advantage, bounded * advantage)
                below = r * advantage > bounded * advantage and r < 1
                above = r * advantage > bounded * advantage and r > 1
                floored = o["dual"] is not None and advantage < 0 and r > o["dual"]
                gain = max(gain, o["dual"] * advantage) if floored else gain
            d = x["reference"][b][t] - x["logp"][b][t]
            k3 = math.exp(d) - 1 - d
            gain *= x["correction"][b][t] if o["correction"] else 1.0
            distance = {"k1": -d, "k2": d * d / 2, "k3": k3}[o["kl_value"]]
            loss += weight * (-gain + o["kl"] * distance - o["entropy_weight"] * x["entropy"][b][t])
            for n, each in enumerate([below, above, floored, r, math.exp(apart) - 1 - apart, x["entropy"][b][t], k3]):
                sums[n] += each / tokens
            most = max(most, r)
    return loss, [*sums[:4], most, *sums[4:]]


CASES: dict[str, dict[str, Any]] = {
    "ppo": {},
    "dual clip": {"dual": 1.5},
    "grpo": {"aggregation": "sequence_mean", "kl": 0.3, "kl_gradient": "k3"},
    "dr_grpo": {"aggregation": "constant", "length": 7},
    "dapo": {"low": 0.1, "high": 0.4},
    "reinforce": {"low": math.inf, "high": math.inf, "aggregation": "sequence_sum", "entropy_weight": 0.2},
    "cispo": {"objective": "cispo", "low": 0.5, "high": 0.3},
    "gspo": {"ratio": "sequence", "low": 0.05, "high": 0.08, "aggregation": "sequence_mean"},
    "cispo by answer": {"objective": "cispo", "ratio": "sequence", "low": 0.05, "high": 0.08},
    "corrected": {"correction": True, "entropy_weight": 0.1, "kl": 0.2, "kl_value": "k1", "kl_gradient": "k1"},
}


def batch(rows: int = 4, steps: int = 21) -> tuple[dict[str, Tensor], Tensor]:
    """Random tokens in float64; rows of which some are empty, with holes, and NaN wherever nothing may be read."""
    mask = torch.rand(rows, steps) < 0.8
    mask[1:2] = False
    logp = torch.randn(rows, steps, dtype=torch.float64) - 3
    apart = torch.randn(rows, steps, dtype=torch.float64) * 0.4
    x = {
        "logp": logp,
        "old": logp - apart,
        "advantages": torch.randn(rows, steps, dtype=torch.float64),
        "reference": logp + torch.randn(rows, steps, dtype=torch.float64) * 0.3,
        "entropy": torch.rand(rows, steps, dtype=torch.float64),
        "correction": torch.rand(rows, steps, dtype=torch.float64),
    }
    return {name: each.masked_fill(~mask, math.nan) for name, each in x.items()}, mask


def run(
    x: dict[str, Tensor], mask: Tensor, options: dict[str, Any], **more: Any
) -> tuple[rk.PolicyLoss, Tensor, Tensor]:
    given = dict(options)
    corrected = given.pop("correction", False)
    logp, entropy = (x[name].clone().requires_grad_() for name in ("logp", "entropy"))
    given |= {"reference": x["reference"], "correction": x["correction"] if corrected else None, **more}

    def once() -> rk.PolicyLoss:
        return rk.policy_loss(logp, x["old"], x["advantages"], mask, entropy=entropy, **given)

    said = once()
    with torch.no_grad():  # no gradient is found then; what is said is the same
        torch.testing.assert_close(tuple(once()), tuple(said), rtol=0, atol=0, equal_nan=True)
    found = torch.autograd.grad(said.loss, (logp, entropy), materialize_grads=True, allow_unused=True)
    return said, *found


@pytest.mark.parametrize("case", CASES)
def test_the_definition_is_the_sum_written_out(case: str) -> None:
    x, mask = batch()
    options = CASES[case]
    rows = {name: each.tolist() for name, each in x.items()}
    said, of_logp, of_entropy = run(x, mask, options, impl="torch")

    def loss_at(b: int, t: int, name: str, by: float) -> float:
        moved = {each: [list(row) for row in values] for each, values in rows.items()}
        moved["frozen"] = rows["logp"]
        moved[name][b][t] += by
        return by_hand(moved, mask.tolist(), options)[0]

    loss, metrics = by_hand({**rows, "frozen": rows["logp"]}, mask.tolist(), options)
    assert said.loss.item() == pytest.approx(loss, rel=1e-10)
    assert said.metrics.tolist() == pytest.approx(metrics, rel=1e-9, abs=1e-12)
    assert list(said.named()) == list(METRICS)
    assert said.named()["ratio_max"] == said.metrics[4]
    flows = options.get("kl_gradient", "k2") == options.get("kl_value", "k3") or not options.get("kl")
    for b, t in itertools.product(range(len(mask)), range(mask.shape[1])):
        if not mask[b, t]:
            assert of_logp[b, t] == of_entropy[b, t] == 0
            continue
        h = 1e-6
        if flows:
            wanted = (loss_at(b, t, "logp", h) - loss_at(b, t, "logp", -h)) / (2 * h)
            assert of_logp[b, t].item() == pytest.approx(wanted, rel=1e-6, abs=1e-9)
        wanted = (loss_at(b, t, "entropy", h) - loss_at(b, t, "entropy", -h)) / (2 * h)
        assert of_entropy[b, t].item() == pytest.approx(wanted, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (4, 21), (3, 64), (2, 2100), (0, 5), (5, 0)], ids=str)
@pytest.mark.parametrize("case", CASES)
def test_native_losses_are_those_of_float64(case: str, shape: tuple[int, int], impl: str) -> None:
    x, mask = batch(*shape)
    for options in (CASES[case], {**CASES[case], "kl": 0.3, "kl_value": "k2", "kl_gradient": "k2"}):
        single = {name: each.float() for name, each in x.items()}
        exact = {name: each.double() for name, each in single.items()}
        ours, wanted = run(single, mask, options, impl=impl), run(exact, mask, options, impl="torch")
        torch.testing.assert_close(ours[0].loss.double(), wanted[0].loss, rtol=2e-6, atol=2e-6)
        torch.testing.assert_close(ours[0].metrics.double(), wanted[0].metrics, rtol=2e-6, atol=2e-6)
        for mine, other in zip(ours[1:], wanted[1:], strict=True):
            torch.testing.assert_close(mine.double(), other, rtol=5e-6, atol=1e-6)


@pytest.mark.parametrize("value", ["k1", "k2", "k3"])
@pytest.mark.parametrize("descended", ["k1", "k2", "k3"])
def test_the_kl_that_is_shown_and_the_one_that_is_descended(value: str, descended: str, impl: str) -> None:
    """Without advantages nothing else is left. Small and large log-ratios both; k2's slope is weighed by the ratio."""
    for ratio in ("token", "sequence"):
        d = torch.tensor([[1e-4, -3e-3, 0.3, -1.2, 19.5, 25.0]], dtype=torch.float64)
        logp, apart = torch.zeros(1, 6, requires_grad=True), torch.tensor([[0.5, -0.3, 0.1, 0.7, -0.2, 0.4]])
        mask, single = torch.ones(1, 6, dtype=torch.bool), d.float()
        said = rk.policy_loss(logp, -apart, torch.zeros(1, 6), mask, reference=single, kl=0.5, kl_value=value,
                              kl_gradient=descended, ratio=ratio, impl=impl)  # fmt: skip
        d, r = single[0].tolist(), apart.double().exp()[0].tolist()
        third = [math.fsum(min(x, 20.0) ** n / math.factorial(n) for n in range(2, 120)) for x in d]
        shown = {"k1": [-x for x in d], "k2": [x * x / 2 for x in d], "k3": third}[value]
        slopes = {"k1": [1.0] * 6, "k2": [-x * its for x, its in zip(d, r, strict=True)],
                  "k3": [-math.expm1(min(x, 20.0)) for x in d]}[descended]  # fmt: skip
        assert said.loss.item() == pytest.approx(0.5 * math.fsum(shown) / 6, rel=2e-6)
        found = gradient(said.loss, logp)[0].tolist()
        assert found == pytest.approx([0.5 * x / 6 for x in slopes], rel=2e-6)


def test_where_nothing_has_moved_the_gradient_is_that_of_reinforce(impl: str) -> None:
    """At a ratio of exactly 1 both branches of the minimum are equal, and neither may halve the gradient."""
    logp = torch.tensor([[-0.3, -1.2, -2.0]], requires_grad=True)
    advantages, mask = torch.tensor([[0.5, -2.0, 0.0]]), torch.ones(1, 3, dtype=torch.bool)
    for ratio in ("token", "sequence"):
        said = rk.policy_loss(
            logp, logp.detach(), advantages, mask, ratio=ratio, aggregation="sequence_sum", low=0.0, high=0.0, impl=impl
        )
        shared = advantages if ratio == "token" else advantages.mean().expand(1, 3)
        torch.testing.assert_close(gradient(said.loss, logp), -shared)
        assert said.metrics[:5].tolist() == [0, 0, 0, 1, 1]


def test_nothing_unmasked_is_a_loss_of_nothing(impl: str) -> None:
    x, mask = batch()
    said, of_logp, of_entropy = run({k: v.float() for k, v in x.items()}, mask & False, CASES["grpo"], impl=impl)
    assert said.loss == 0
    assert not said.metrics.any()
    assert not of_logp.any()
    assert not of_entropy.any()


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_cut_anywhere_has_one_gradient(mode: str, impl: str) -> None:
    x, mask = batch(6, 5)
    single = {name: each.float() for name, each in x.items()}
    weight = rk.token_weights(mask, mode, 10)

    def found(rows: slice) -> Tensor:
        part = {name: each[rows] for name, each in single.items()}
        whole = torch.zeros(mask.shape)
        whole[rows] = run(part, mask[rows], {"aggregation": weight[rows], "kl": 0.3}, impl=impl)[1]
        return whole

    whole = found(slice(None))
    for bounds in itertools.chain(itertools.combinations(range(1, 6), 1), itertools.combinations(range(1, 6), 2)):
        cuts = [slice(*pair) for pair in itertools.pairwise((0, *bounds, 6))]
        assert torch.equal(sum(found(rows) for rows in cuts), whole)


def test_threads_and_other_rows_change_nothing(impl: str) -> None:
    x, mask = batch(90, 300)  # enough for more than one thread
    single = {name: each.float() for name, each in x.items()}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        said = run(single, mask, CASES["grpo"], impl=impl)
        for count in (2, 3, 7):
            torch.set_num_threads(count)
            again = run(single, mask, CASES["grpo"], impl=impl)
            assert torch.equal(again[0].metrics, said[0].metrics)
            assert torch.equal(again[0].loss, said[0].loss)
            assert torch.equal(again[1], said[1])
    finally:
        torch.set_num_threads(threads)


def test_a_nan_is_seen_in_what_is_measured(impl: str) -> None:
    x, mask = batch(3, 40)
    single = {name: each.float() for name, each in x.items()}
    b, t = mask.nonzero()[7].tolist()
    single["logp"][b, t] = math.nan
    said, wanted = (run(single, mask, CASES["grpo"], impl=each)[0] for each in (impl, "torch"))
    torch.testing.assert_close(said, wanted, equal_nan=True)


def test_half_precision_comes_back_in_its_own(impl: str) -> None:
    x, mask = batch()
    half = {name: each.bfloat16() for name, each in x.items()}
    said, of_logp, _ = run(half, mask, CASES["ppo"], impl=impl)
    assert said.loss.dtype == torch.float32
    assert of_logp.dtype == torch.bfloat16


def test_what_float32_would_round_goes_by_the_definition() -> None:
    x, mask = batch()
    assert run(x, mask, {})[0].loss.dtype == torch.float64
    with pytest.raises(rk.ImplementationError, match="computes in float32 and got float64"):
        run(x, mask, {}, impl="native")


def test_a_loss_is_differentiable_once(impl: str) -> None:
    if impl == "torch":
        pytest.skip("the definition can be differentiated again")
    logp = torch.zeros(1, 2, requires_grad=True)
    said = rk.policy_loss(logp, logp.detach(), torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool), impl=impl)
    (first,) = torch.autograd.grad(said.loss, logp, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        first.sum().backward()
