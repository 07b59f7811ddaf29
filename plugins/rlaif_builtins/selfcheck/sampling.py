"""What must hold between what was drawn and what is trained: temperature, support, tokens, truncation."""

from __future__ import annotations

import dataclasses

import torch

from rlaif_builtins.selfcheck.models import PROMPTS, policy, rollouts
from rlaif_builtins.selfcheck.registry import check, hold
from rlaif_core import Sampling


@check(5, "being cut off is said by the sampler, never guessed from the width")
def truncation() -> str:
    of = policy(ends=12)
    drawn = of.sampler(seed=2, step=1, group=24).sample(PROMPTS, Sampling(max_tokens=6))
    for row, finish in enumerate(drawn.finish):
        tokens = drawn.tokens[row][drawn.mask[row]].tolist()
        ended = tokens[-1] in of.chat.ends
        hold(ended == (finish == "stop"), f"an answer of {len(tokens)} tokens, end {ended}, says {finish!r}")
        hold(ended or len(tokens) == 6, f"an answer was cut off after {len(tokens)} of 6 tokens")
    at_width = sum(f == "stop" and int(drawn.mask[row].sum()) == 6 for row, f in enumerate(drawn.finish))
    return f"{drawn.finish.count('length')} cut off, {at_width} ended on the very last token"


@check(9, "log-probs are those of the sampling temperature")
def temperature() -> str:
    of = policy()
    drawn = rollouts(of, temperature=0.6)
    with torch.no_grad():
        right = float((of.logprobs(drawn) - drawn.logp).abs().max())
        wrong = float((of.logprobs(dataclasses.replace(drawn, temperature=1.0)) - drawn.logp).abs().max())
    hold(right < 1e-4, f"at temperature 0.6 the ratio is off by {right:.1e}")
    hold(wrong > 0.05, "ignoring the temperature would not have shown")
    return f"log-ratio {right:.0e}; had it been ignored, {wrong:.1f}"


@check(10, "a truncated support is replayed in training")
def support() -> str:
    of = policy()
    worst, missed = 0.0, float("inf")
    for how in ({"top_k": 2}, {"top_p": 0.6}, {"min_p": 0.3}):
        drawn = rollouts(of, **how)
        with torch.no_grad():
            worst = max(worst, float((of.logprobs(drawn) - drawn.logp).abs().max()))
            full = of.logprobs(dataclasses.replace(drawn, kept=None))
        missed = min(missed, float((full - drawn.logp).abs().max()))
    hold(worst < 1e-4, f"with top_k, top_p or min_p the ratio is off by {worst:.1e}")
    hold(missed > 0.05, "leaving the support out would not have shown")
    return f"log-ratio {worst:.0e}; over the full vocabulary at least {missed:.1f}"


@check(23, "the tokens that are trained are the tokens that were drawn")
def token_in_token_out() -> str:
    of = policy()
    sampler = of.sampler(seed=3, step=1, group=2)
    drawn = sampler.sample(PROMPTS, Sampling(max_tokens=6))
    again = of.sampler(seed=3, step=1, group=2).sample(PROMPTS, Sampling(max_tokens=6))
    hold(torch.equal(drawn.tokens, again.tokens), "the same seed, step and prompt drew another answer")
    # "<unk>" stands for every unknown word, so decoding and encoding again would not give these ids back.
    row = drawn.tokens[0][drawn.attend[0]]
    prompt = of.chat.encode(PROMPTS[0])
    hold(row[: len(prompt)].tolist() == prompt, "the prompt's tokens changed on the way")
    with torch.no_grad():
        worst = float((of.logprobs(drawn) - drawn.logp).abs().max())
    hold(worst < 1e-4, f"trained tokens are not the drawn ones: log-probs differ by {worst:.1e}")
    return f"{int(drawn.mask.sum())} tokens, each with its own log-prob"
