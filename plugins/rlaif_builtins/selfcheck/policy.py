"""What must hold of log-probs, masks, positions, adapters and precision."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

import rlaif_kernels as rk
from rlaif_builtins.optimisers.grpo import Grpo
from rlaif_builtins.optimisers.ppo import Ppo
from rlaif_builtins.optimisers.update import Adam
from rlaif_builtins.selfcheck.models import PROMPTS, continued, fresh, policy, rollouts, shaken
from rlaif_builtins.selfcheck.registry import check, hold
from rlaif_core import Optimiser, Rollouts, Sampling
from rlaif_core.policy import TransformersPolicy
from rlaif_core.testing import make_experience


def one_by_one(of: TransformersPolicy, row: int, drawn: Rollouts) -> Tensor:
    """[n]: each chosen token's log-prob from its own forward over the tokens before it, without padding or cache."""
    tokens = drawn.tokens[row][drawn.attend[row]]
    chosen = drawn.mask[row][drawn.attend[row]].nonzero()[:, 0].tolist()
    with torch.no_grad():
        logits = [
            of.module(input_ids=tokens[None, :place], attention_mask=torch.ones(1, place)).logits[0, -1]
            for place in chosen
        ]
    return torch.stack(
        [(z / drawn.temperature).log_softmax(-1)[tokens[p]] for z, p in zip(logits, chosen, strict=True)]
    )


@check(1, "a token's log-prob comes from the logits before it")
def shift() -> str:
    of, drawn = policy(), rollouts()
    with torch.no_grad():
        together = of.logprobs(drawn)
    worst = max(
        float((together[row][drawn.mask[row]] - one_by_one(of, row, drawn)).abs().max()) for row in range(len(drawn))
    )
    hold(worst < 1e-4, f"forward and token-by-token log-probs differ by {worst:.1e}")
    return f"largest difference to one token at a time {worst:.0e}"


@check(2, "the first end of sequence is chosen, nothing behind it, even where padding looks like it")
def mask() -> str:
    seen = 0
    for of in (policy(pad="<eos>"), policy(ends=12)):
        ends = of.chat.ends
        drawn = of.sampler(seed=1, step=1, group=24).sample(PROMPTS, Sampling(max_tokens=12))
        for row, finish in enumerate(drawn.finish):
            chosen = drawn.tokens[row][drawn.mask[row]].tolist()
            inside = [place for place, token in enumerate(chosen) if token in ends]
            expected = [len(chosen) - 1] if finish == "stop" else []
            hold(inside == expected, f"ends at {inside} of {len(chosen)} chosen tokens, finish {finish!r}")
            hold(bool(drawn.mask[row][drawn.attend[row]][-1]), "the last token attended to was not chosen")
            seen += finish == "stop"
    hold(seen > 4, "too few answers ended to tell")
    return f"{seen} answers ended, with one end token and with twelve, pad = eos"


@check(3, "the end of sequence is an action: it gets gradient, what follows gets none")
def end_is_an_action() -> str:
    of = policy(ends=12)
    drawn = of.sampler(seed=1, step=1, group=12).sample(PROMPTS, Sampling(max_tokens=12))
    row = next(row for row, finish in enumerate(drawn.finish) if finish == "stop" and not drawn.attend[row, -1])
    logp = of.logprobs(drawn)
    last = int(drawn.mask[row].nonzero()[-1])
    weight: Tensor = of.module.get_input_embeddings().weight  # type: ignore[operator]
    (on,) = torch.autograd.grad(logp[row, last], weight, retain_graph=True)
    hold(int(drawn.tokens[row, last]) in of.chat.ends, "the last chosen token is not the end")
    hold(float(on.norm()) > 0, "the end token's log-prob has no gradient")
    hold(bool((logp[row, last + 1 :] == 0).all()), "positions behind the end have log-probs")
    return f"gradient norm on the end token {float(on.norm()):.2f}, behind it 0"


@check(8, "padding and the company of other answers change nothing")
def padding() -> str:
    of, drawn = policy(), rollouts()
    of64 = fresh()
    of64.module.double()
    fillers = {"tokens": of.chat.pad, "attend": False, "mask": False, "logp": 0.0}
    wider: dict[str, Any] = {n: torch.nn.functional.pad(getattr(drawn, n), (3, 2), value=f) for n, f in fillers.items()}
    grown = dataclasses.replace(drawn, **wider)
    with torch.no_grad():
        together = of64.logprobs(drawn).double()
        padded = of64.logprobs(grown)[:, 3:-2].double()
        alone = torch.cat([of64.logprobs(drawn.take([row])).double() for row in range(len(drawn))])
    worst = max(float((together - padded).abs().max()), float((together - alone).abs().max()))
    hold(worst < 1e-6, f"log-probs move by {worst:.1e} with padding or with the rest of the batch")
    return f"largest change {worst:.0e} with absolute positions"


def standing_still(of: TransformersPolicy) -> None:
    """Three epochs at lr = 0 clip nothing and drift nowhere, on the policy's own rollouts and on an earlier one's.

    The clip range is next to nothing, so that the slightest ratio other than 1 counts.
    """
    adam = Adam(lr=0.0, microbatch=4)
    optimisers: tuple[Optimiser, ...] = (
        Grpo(epochs=3, low=1e-4, high=1e-4, adam=adam),
        Ppo(epochs=3, minibatches=2, low=1e-4, high=1e-4, adam=adam),
    )
    for optimiser in optimisers:
        optimiser.prepare(of, 2)
        drawn = rollouts(of)
        for origin in (of.version, of.version - 1):
            its = dataclasses.replace(drawn, policy_version=origin)
            said = optimiser.step(of, make_experience(its))
            name = type(optimiser).__name__
            # Neither can be below 0, so that a mean of 0 over the epochs is 0 in each of them.
            hold(said["clip_fraction"] == 0, f"{name} at lr = 0 clips {said['clip_fraction']:.1%} of the tokens")
            hold(abs(said["approx_kl"]) < 1e-6, f"{name} at lr = 0 drifts by {said['approx_kl']:.1e} nats a token")


@check(12, "the ratio to the sampler is 1 before the first update, and at lr = 0 in every epoch, dropout or not")
def ratio() -> str:
    worst = 0.0
    for dropout in (0.0, 0.3):
        of = policy(dropout=dropout)
        drawn = rollouts(of)
        with torch.no_grad():
            first, second = of.logprobs(drawn), of.logprobs(drawn)
        hold(torch.equal(first, second), "two passes over the same weights disagree: dropout is on")
        worst = max(worst, float((first - drawn.logp).abs().max()))
        standing_still(fresh(dropout=dropout))
    hold(worst < 1e-4, f"the trainer's log-probs differ from the sampler's by {worst:.1e}")
    return f"largest log-ratio {worst:.0e}; at lr = 0 nothing is clipped"


@check(20, "the reference is the policy at the start, a trained adapter included, whatever is trained since")
def reference() -> str:
    kinds: list[tuple[str, TransformersPolicy]] = [("full", fresh())]
    try:
        import peft  # noqa: F401

        kinds += [("lora", fresh(lora={"r": 2})), ("trained adapter", continued())]
    except ImportError:
        pass
    for name, of in kinds:
        of.keep_reference()
        drawn = rollouts(of)
        with torch.no_grad():
            start = of.logprobs(drawn)
            hold(torch.equal(start, of.reference_logprobs(drawn)), f"{name}: the KL at step 0 is not 0")
            shaken(of)
            hold(torch.equal(start, of.reference_logprobs(drawn)), f"{name}: training moved the reference")
            hold(not torch.equal(start, of.logprobs(drawn)), f"{name}: the policy did not move")
    return "KL at the start is 0: " + ", ".join(name for name, _ in kinds)


@check(28, "log-probs are reduced in float32, also from bfloat16 logits")
def precision() -> str:
    torch.manual_seed(0)
    logits, targets = 4 * torch.randn(64, 5000), torch.randint(5000, (64,))
    exact = logits.bfloat16().double().log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    said = rk.token_logprobs(logits.bfloat16(), targets)
    assert isinstance(said, Tensor)
    worst = float((said.double() - exact).abs().max())
    hold(said.dtype == torch.float32, f"log-probs are {said.dtype}")
    hold(worst < 1e-4, f"bfloat16 logits cost {worst:.1e} in log-prob")
    return f"error from bfloat16 logits {worst:.0e}"
