"""What must hold of losses: KL estimators, aggregation, direct preferences."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_builtins.optimisers.dpo import Dpo, pairs_of
from rlaif_builtins.optimisers.grpo import Grpo
from rlaif_builtins.optimisers.losses import Aggregation, pair_loss, weights
from rlaif_builtins.optimisers.ppo import Ppo
from rlaif_builtins.optimisers.reinforce import Reinforce
from rlaif_builtins.optimisers.update import Adam
from rlaif_builtins.selfcheck.registry import check, hold
from rlaif_builtins.selfcheck.updates import batch, moved, stepped
from rlaif_core import Optimiser, Scored, TrainingError
from rlaif_core.testing import FakePolicy, make_experience, make_feedback, make_rollouts

MODES: tuple[Aggregation, ...] = ("token_mean", "sequence_mean", "sequence_sum", "constant")
STEP = Adam(lr=0.1, clip=0)


def estimators() -> float:
    """KL estimators over three tokens, against the closed form; returns its value."""
    torch.manual_seed(0)
    logits = torch.randn(3, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(3, dtype=torch.float64).log_softmax(-1)
    logp = logits.log_softmax(-1)
    exact = (logp.exp() * (logp - reference)).sum()
    (slope,) = torch.autograd.grad(exact, logits, retain_graph=True)
    p = logp.exp().detach()

    def expected(values: Tensor) -> tuple[float, Tensor]:
        (gradient,) = torch.autograd.grad((p * values).sum(), logits, retain_graph=True)
        return float((p * values).sum().detach()), gradient

    k1, k1_slope = expected(rk.kl_estimate(logp, reference, value="k1"))
    _, k2_slope = expected(rk.kl_estimate(logp, reference, value="k2"))
    k3, k3_slope = expected(rk.kl_estimate(logp, reference, value="k3"))
    mixed, mixed_slope = expected(rk.kl_estimate(logp, reference, value="k3", gradient="k2"))
    true = float(exact.detach())
    hold(max(abs(k1 - true), abs(k3 - true), abs(mixed - true)) < 1e-12, "k1 or k3 is biased")
    hold(float(k1_slope.abs().max()) < 1e-12, "k1 as a loss should have no gradient in expectation")
    hold(torch.allclose(k2_slope, slope), "k2 does not descend the reverse KL")
    hold(torch.allclose(mixed_slope, slope), "the loss in use does not descend the reverse KL")
    hold(not torch.allclose(k3_slope, slope), "k3's own gradient should be the forward KL's")
    return true


def leaning() -> FakePolicy:
    """A policy that gives "yes" 3/18 and each other word 1/18, whatever came before; its reference 1/16 to each."""
    of = FakePolicy()
    head = of.module.head
    assert isinstance(head, torch.nn.Linear)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        of.keep_reference()
        head.bias[of.encode("yes")] = math.log(3)
    of.version += 1
    return of


def penalties() -> float:
    """The KL as PPO and REINFORCE put it into the reward and GRPO into the loss, by hand; returns the answer's nats."""
    rollouts = make_rollouts(["yes no"])
    liked, other = math.log(6 / 16), math.log(18 / 16)  # log p_reference - log p_policy
    expected = [liked, other, other]
    for optimiser in (Reinforce(kl=0.1, adam=STEP), Ppo(kl=0.1, adam=STEP)):
        name = type(optimiser).__name__
        optimiser.prepare(leaning(), 1)
        said = optimiser.sources()["kl"].score(rollouts)
        assert isinstance(said, Scored)
        feedback = make_feedback(rollouts, {"it": [0.0], "kl": said}, weights=optimiser.weights())
        tokens = said.tokens[rollouts.mask]
        total = float(feedback.totals(rollouts.group)[0])
        hold(torch.allclose(tokens, torch.tensor(expected)), f"{name}'s KL penalty is {tokens.tolist()}")
        hold(abs(total - 0.1 * sum(expected)) < 1e-6, f"{name} makes a reward of {total:.4f} of its KL penalty")
    # In a group of one the advantage is 0, so that the KL is all there is to the loss.
    _, reported = stepped(Grpo(kl=0.1, adam=STEP), leaning(), make_experience(rollouts))
    k3 = sum(math.exp(log) - 1 - log for log in expected)
    hold(abs(reported["kl"] - k3) < 1e-5, f"Grpo reports a KL of {reported['kl']:.4f}, not {k3:.4f}")
    hold(abs(reported["loss"] - 0.1 * k3 / 3) < 1e-6, f"Grpo makes a loss of {reported['loss']:.4f} of its KL")
    return -sum(expected)


@check(13, "KL estimators have the values and gradients of the closed form, and the penalty has its sign")
def kl() -> str:
    true, nats = estimators(), penalties()
    return f"k1, k3 and the loss in use give KL {true:.4f}; an answer {nats:.4f} nats above its reference pays for it"


def by_weight() -> None:
    """Every way to weigh tokens, against what it stands for, and row by row."""
    torch.manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    values = torch.randn(4, 4).masked_fill(~mask, 1e9)
    expected = {
        "token_mean": values[mask].mean(),
        "sequence_mean": torch.stack([values[row][mask[row]].mean() for row in (0, 1, 3)]).mean(),
        "sequence_sum": values[mask].sum() / 3,
        "constant": values[mask].sum() / (3 * 8),
    }
    for mode in MODES:
        weight = weights(mask, mode, length=8)
        whole = (weight * values).sum()
        parts = sum((weight[row : row + 1] * values[row : row + 1]).sum() for row in range(4))
        hold(torch.allclose(whole, expected[mode]), f"{mode} is {float(whole):.4f}, not {float(expected[mode]):.4f}")
        hold(abs(float(whole - parts)) < 1e-6, f"{mode} changes when the batch is cut into rows")
    try:
        weights(torch.zeros(2, 3, dtype=torch.bool), "token_mean")
    except TrainingError:
        return
    raise AssertionError("a batch in which nothing counts has a loss")


def optimisers() -> dict[str, Callable[..., Optimiser]]:
    """Optimisers to be built with an `adam`, every term of their losses in use."""
    lengths = {mode: 8 if mode == "constant" else None for mode in MODES}
    return {
        **{f"grpo, {m}": partial(Grpo, aggregation=m, length=lengths[m], kl=0.1, entropy=0.1) for m in MODES},
        "ppo": partial(Ppo, entropy=0.1, epochs=1),
        "reinforce": partial(Reinforce, entropy=0.1),
        "dpo": partial(Dpo, beta=0.3),
    }


def in_parts() -> float:
    """What every optimiser makes of a batch, whole and in micro-batches; returns the gradients' largest difference."""
    worst = 0.0
    for name, build in optimisers().items():
        whole, reported = stepped(build(adam=STEP), moved(), batch())
        for size in (1, 3, 4):
            parts, said = stepped(build(adam=Adam(lr=0.1, clip=0, microbatch=size)), moved(), batch())
            off = float((whole - parts).norm() / whole.norm())
            hold(off < 1e-5, f"{name}: micro-batches of {size} change the gradient by {off:.1%}")
            unlike = [key for key in reported if not math.isclose(reported[key], said[key], rel_tol=1e-4, abs_tol=1e-6)]
            hold(not unlike, f"{name}: micro-batches of {size} change {', '.join(unlike)}")
            worst = max(worst, off)
    return worst


@check(15, "how a batch is cut into parts does not change the loss or its gradient")
def aggregation() -> str:
    by_weight()
    return f"four modes by hand; micro-batches change no optimiser's gradient by more than {in_parts():.0e}"


def pairs_by_hand() -> float:
    """DPO's loss and margin on pairs of unequal length, against sums taken one token at a time; returns the margin."""
    experience, of, beta = batch(), moved(), 0.3
    rollouts, pairs = experience.rollouts, pairs_of(experience, "best_worst")
    with torch.no_grad():
        ratios = of.logprobs(rollouts) - of.reference_logprobs(rollouts)
    rows = [ratio[on].tolist() for ratio, on in zip(ratios, rollouts.mask, strict=True)]
    hold(all(len(rows[a]) != len(rows[b]) for a, b in pairs), "the pairs are of equal length")
    sums: list[float] = [sum(rows[a]) - sum(rows[b]) for a, b in pairs]
    means: list[float] = [sum(rows[a]) / len(rows[a]) - sum(rows[b]) / len(rows[b]) for a, b in pairs]
    for per_token, margins in ((False, sums), (True, means)):
        said = stepped(Dpo(beta, per_token=per_token, adam=STEP), moved(), experience)[1]
        ipo = stepped(Dpo(beta, "ipo", per_token=per_token, adam=STEP), moved(), experience)[1]
        figures = {
            "margin": (said["margin"], [beta * margin for margin in margins]),
            "DPO's loss": (said["loss"], [math.log1p(math.exp(-beta * margin)) for margin in margins]),
            "IPO's loss": (ipo["loss"], [(margin - 1 / (2 * beta)) ** 2 for margin in margins]),
        }
        for name, (figure, each) in figures.items():
            true = sum(each) / len(each)
            hold(abs(figure - true) < 1e-5, f"per_token = {per_token}: {name} is {figure:.4f}, not {true:.4f}")
    return beta * sum(sums) / len(sums)


@check(25, "direct preferences: log 2 where the policy is its reference, sums and not means")
def preferences() -> str:
    zero = torch.zeros(2, dtype=torch.float64)
    sigmoid = pair_loss(zero, 0.1, 0.0, "sigmoid")
    hold(bool((sigmoid - math.log(2)).abs().max() < 1e-12), f"DPO at the reference is {sigmoid[0]:.6f}, not log 2")
    ipo = pair_loss(zero, 0.1, 0.0, "ipo")
    hold(bool((ipo - 25.0).abs().max() < 1e-9), f"IPO at the reference is {ipo[0]:.6f}, not 1/(2 beta)^2")
    margin = torch.tensor([5.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(pair_loss(margin, 0.1, 0.0, "ipo").sum(), margin)
    hold(float(slope) == 0, "IPO is not flat at its optimum, a margin of 1/(2 beta)")
    start = stepped(Dpo(adam=STEP), FakePolicy(), batch())[1]
    hold(abs(start["loss"] - math.log(2)) < 1e-6, f"the optimiser's first loss is {start['loss']:.6f}, not log 2")
    hold(start["margin"] == 0, f"the optimiser's first margin is {start['margin']}, not 0")
    return f"DPO 0.693147, IPO 25 at beta 0.1; a margin of {pairs_by_hand():.4f} is that of sums"
