from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from checkpoints import ARCHITECTURES
from rlaif_core import Prompt, Rollouts, Sampling, causal, scoring
from rlaif_core.scoring import score
from rlaif_core.testing.values import left_padded

PROMPTS = [
    Prompt(id="short", text="a"),
    Prompt(id="long", text="What is the time in the old town, and where is the river?"),
    Prompt(id="middle", text="all then"),
]


def drawn(policy: Any, *, group: int = 3, prompts: list[Prompt] = PROMPTS, **sampling: Any) -> Rollouts:
    options = {"max_tokens": 12, **sampling}
    return policy.sampler(seed=3, step=1, group=group).sample(prompts, Sampling(**options))


def by_hand(policy: Any, rollouts: Rollouts, temperature: float = 1.0) -> Tensor:
    """Log-probs from one pass of the bare module for every single token: no padding, no cache, no batch."""
    logp = torch.zeros(rollouts.logp.shape)
    for row, (tokens, here, mask) in enumerate(zip(rollouts.tokens, rollouts.attend, rollouts.mask, strict=True)):
        for at in mask.nonzero()[:, 0].tolist():
            before = tokens[:at][here[:at]]
            with torch.no_grad():
                logits = policy.module(before[None], use_cache=False).logits[0, -1] / temperature
            logp[row, at] = logits.log_softmax(-1)[tokens[at]]
    return logp


def padded(rollouts: Rollouts, left: int, right: int) -> Rollouts:
    def wider(x: Tensor, value: float = 0) -> Tensor:
        return torch.nn.functional.pad(x, (left, right), value=value)

    fields = {name: wider(getattr(rollouts, name)) for name in ("attend", "mask", "logp")}
    return replace(rollouts, tokens=wider(rollouts.tokens, 7), **fields)


# The others compute parts in single precision whatever their weights are; in two of them the mask then overflows.
EXACT = frozenset({"gpt2", "gpt_neox", "phi", "opt"})
SINGLE = frozenset({"bloom", "gemma2"})


def precise(policy_of: Callable[..., Any], architecture: str) -> Any:
    return policy_of(architecture, how={"dtype": "float32" if architecture in SINGLE else "float64"})


def assert_same(mine: list[Tensor], other: list[Tensor], architecture: str) -> None:
    """Equal but for rounding, measured against the largest number."""
    assert len(mine) == len(other) > 0
    assert all(bool(torch.isfinite(one).all()) for one in mine)
    off = max(float((one - two).abs().max()) for one, two in zip(mine, other, strict=True))
    assert off <= (1e-11 if architecture in EXACT else 2e-5) * max(float(two.abs().max()) for two in other)


def gradients(policy: Any, rollouts: Rollouts) -> list[Tensor]:
    policy.module.zero_grad()
    weights = torch.arange(1, 1 + len(rollouts), dtype=torch.float64)[rollouts.group]
    (policy.forward(rollouts).logp * weights[:, None]).sum().backward()
    return [p.grad.clone() for p in policy.module.parameters() if p.grad is not None]


# ---- the right distribution


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sampler_trainer_and_a_pass_by_hand_agree(architecture: str, policy_of: Callable[..., Any]) -> None:
    policy = policy_of(architecture)
    rollouts = drawn(policy, group=2)
    expected = by_hand(policy, rollouts)
    torch.testing.assert_close(rollouts.logp, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(policy.logprobs(rollouts).detach(), expected, rtol=0, atol=1e-5)


def test_the_last_token_changes_no_log_prob_before_it(policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    rollouts = drawn(policy)
    last = rollouts.tokens.shape[1] - 1 - rollouts.attend.flip(1).int().argmax(1)
    tokens = rollouts.tokens.clone()
    rows = torch.arange(len(tokens))
    tokens[rows, last] = (tokens[rows, last] + 1) % 90
    before, after = (policy.logprobs(r).detach() for r in (rollouts, replace(rollouts, tokens=tokens)))
    moved = (before != after).nonzero().tolist()
    assert moved == [[row, at] for row, at in enumerate(last.tolist())]


@pytest.mark.parametrize("temperature", [0.6, 1.7])
def test_log_probs_are_at_the_sampling_temperature(temperature: float, policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    rollouts = drawn(policy, temperature=temperature)
    torch.testing.assert_close(rollouts.logp, by_hand(policy, rollouts, temperature), rtol=0, atol=1e-5)
    ratio = (policy.logprobs(rollouts) - rollouts.logp).exp()
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=1e-5)
    ignored = (policy.logprobs(replace(rollouts, temperature=1.0)) - rollouts.logp)[rollouts.mask]
    assert ignored.abs().max() > 0.1


@pytest.mark.parametrize(
    "how", [{"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.3}, {"top_k": 9, "top_p": 0.7, "min_p": 0.05}]
)
def test_a_truncated_support_is_replayed(how: dict[str, Any], policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    rollouts = drawn(policy, temperature=0.8, **how)
    assert rollouts.kept is not None
    logp = policy.logprobs(rollouts).detach()
    torch.testing.assert_close(logp, rollouts.logp, rtol=0, atol=1e-5)
    whole = policy.logprobs(replace(rollouts, kept=None)).detach()
    assert (whole - rollouts.logp).abs().max() > 0.1
    assert (whole <= logp + 1e-6).all()


def test_gradients_flow_through_the_kept_tokens_alone(policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    rollouts = drawn(policy, top_k=2)
    policy.logprobs(rollouts).sum().backward()
    touched = set(policy.module.lm_head.weight.grad.abs().sum(1).nonzero()[:, 0].tolist())
    assert touched == set(rollouts.kept[rollouts.mask].unique().tolist())


def test_positions_without_a_list_have_the_whole_vocabulary(policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    rollouts = drawn(policy, top_k=3)
    first = int(rollouts.mask.any(0).nonzero()[0, 0])
    kept = rollouts.kept.clone()
    kept[:, first] = -1
    mixed = policy.logprobs(replace(rollouts, kept=kept)).detach()
    whole = policy.logprobs(replace(rollouts, kept=None)).detach()
    torch.testing.assert_close(mixed[:, first], whole[:, first])
    torch.testing.assert_close(mixed[:, first + 1 :], rollouts.logp[:, first + 1 :], rtol=0, atol=1e-5)


# ---- padding, order, and what is read only once


@pytest.mark.parametrize("architecture", ["gpt2", "phi", "llama", "gemma2", "bloom", "mamba"])
def test_padding_and_order_change_neither_values_nor_gradients(
    architecture: str, policy_of: Callable[..., Any]
) -> None:
    policy = precise(policy_of, architecture)
    rollouts = drawn(policy)
    logp, slopes = policy.logprobs(rollouts).detach(), gradients(policy, rollouts)
    for left, right in ((5, 0), (0, 4), (3, 2)):
        wide = padded(rollouts, left, right)
        mine = policy.logprobs(wide).detach()
        assert not mine[~wide.mask].any()
        assert_same([mine[:, left : left + logp.shape[1]]], [logp], architecture)
        assert_same(gradients(policy, wide), slopes, architecture)
    order = torch.randperm(len(rollouts)).tolist()
    mixed = rollouts.take(order)
    assert_same([policy.logprobs(mixed).detach()], [logp[order]], architecture)
    assert_same(gradients(policy, mixed), slopes, architecture)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_reading_a_prompt_once_changes_neither_values_nor_gradients(
    architecture: str, policy_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = precise(policy_of, architecture)
    rollouts = drawn(policy, group=4)
    read: list[int] = []
    policy.module.register_forward_pre_hook(lambda *given: read.append(given[2]["input_ids"].numel()), with_kwargs=True)
    names = ("logp", "entropy", "hidden", "last")
    once, slopes = policy.forward(rollouts, entropy=True, hidden=True), gradients(policy, rollouts)
    tokens, _ = sum(read), read.clear()
    monkeypatch.setattr(scoring, "WORTH", 1.0)
    each, expected = policy.forward(rollouts, entropy=True, hidden=True), gradients(policy, rollouts)
    assert (tokens < 0.7 * sum(read)) == (architecture != "mamba")
    for name in names:
        assert_same([getattr(once, name).detach()], [getattr(each, name).detach()], architecture)
    assert_same(slopes, expected, architecture)


def test_one_answer_a_prompt_is_read_in_one_pass(policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    rollouts = drawn(policy, group=1)
    calls: list[int] = []
    assert policy.model.head is not None  # which an example showed, read for that
    policy.module.register_forward_pre_hook(lambda *_: calls.append(1))
    policy.forward(rollouts)
    assert len(calls) == 1


# ---- what else comes with it


def test_entropy_and_hidden_states(policy_of: Callable[..., Any]) -> None:
    policy = policy_of("gpt2")
    rollouts = drawn(policy, temperature=0.7)
    said = policy.forward(rollouts, entropy=True, hidden=True)
    assert said.hidden.shape == (*rollouts.tokens.shape, policy.hidden_size)
    for row in range(len(rollouts)):
        here = rollouts.attend[row]
        with torch.no_grad():
            output = policy.module(rollouts.tokens[row][here][None], output_hidden_states=True)
        states, spread = output.hidden_states[-1][0], (output.logits[0] / 0.7).softmax(-1)
        entropy = -(spread * spread.log()).sum(-1)
        chosen = rollouts.mask[row][here].nonzero()[:, 0]
        torch.testing.assert_close(said.hidden[row][rollouts.mask[row]], states[chosen - 1], rtol=0, atol=1e-5)
        torch.testing.assert_close(said.last[row], states[-1], rtol=0, atol=1e-5)
        torch.testing.assert_close(said.entropy[row][rollouts.mask[row]], entropy[chosen - 1], rtol=0, atol=1e-5)
    assert not said.hidden[~rollouts.mask].any()
    assert not said.entropy[~rollouts.mask].any()


def test_the_last_state_of_a_row_is_found_wherever_its_padding_is(policy_of: Callable[..., Any]) -> None:
    policy = policy_of("gpt2", ends=list(range(20, 28)))
    rollouts = drawn(policy, max_tokens=30)
    moved = left_padded(rollouts)
    assert not moved.attend[:, int(moved.mask.any(0).nonzero()[0, 0])].all()
    with torch.no_grad():
        said, expected = (policy.forward(its, hidden=True).last for its in (moved, rollouts))
    torch.testing.assert_close(said, expected, rtol=0, atol=1e-5)


def test_hidden_states_have_the_width_that_the_policy_says(policy_of: Callable[..., Any]) -> None:
    policy = policy_of("opt", word_embed_proj_dim=16)  # projects its states before the output embeddings
    said = policy.forward(drawn(policy), hidden=True)
    assert said.hidden.shape[-1] == said.last.shape[-1] == policy.hidden_size == 16


def test_the_end_is_learnt_and_nothing_behind_it(policy_of: Callable[..., Any]) -> None:
    policy = policy_of(ends=list(range(20, 60)))
    rollouts = drawn(policy, group=6)
    ended = [row for row, why in enumerate(rollouts.finish) if why == "stop"]
    assert len(ended) > 6
    seen: list[Tensor] = []

    def watch(_module: Any, given: tuple[Tensor, ...]) -> None:
        given[0].retain_grad()
        seen.append(given[0])

    assert policy.model.head is not None
    with policy.module.get_output_embeddings().register_forward_pre_hook(watch):
        score(policy.model, rollouts).logp.sum().backward()
    slope = seen[-1].grad.abs().sum(-1)  # [B, positions that predict the answers]
    predicting = rollouts.mask[:, -slope.shape[1] :]
    assert (slope[predicting] > 0).all()
    assert not slope[~predicting].any()
    last = [int(rollouts.mask[row].nonzero()[-1, 0]) for row in ended]
    assert {int(rollouts.tokens[row, at]) for row, at in zip(ended, last, strict=True)} <= set(range(20, 60))


def test_logits_of_half_precision_are_not_rounded(policy_of: Callable[..., Any]) -> None:
    policy = policy_of(how={"dtype": "bfloat16"})
    rollouts = drawn(policy)
    logp = policy.logprobs(rollouts)
    assert logp.dtype == rollouts.logp.dtype == torch.float32
    tokens = rollouts.tokens
    with torch.no_grad():
        options = {"attention_mask": rollouts.attend, "position_ids": (rollouts.attend.cumsum(1) - 1).clamp(min=0)}
        states = policy.module(tokens, **options, output_hidden_states=True).hidden_states[-1]
        logits = states[:, :-1].double() @ policy.module.get_output_embeddings().weight.double().T
    exact = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
    here = rollouts.mask[:, 1:]
    # States differ by rounding between the two ways of reading, so compare where they come out the same.
    close = (logp[:, 1:].double() - exact)[here].abs()
    assert close.median() < 1e-6


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name not in SINGLE | {"mamba"}])
@pytest.mark.parametrize("sampling", [{}, {"top_k": 3, "temperature": 0.7}], ids=["all", "kept"])
def test_no_logits_are_made_and_that_changes_nothing(
    architecture: str, sampling: dict[str, Any], policy_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = precise(policy_of, architecture)
    rollouts = drawn(policy, **sampling)
    assert policy.model.head is not None
    without, slopes = policy.forward(rollouts, entropy=True, hidden=True), gradients(policy, rollouts)
    monkeypatch.setattr(policy.model, "head", None)
    whole, expected = policy.forward(rollouts, entropy=True, hidden=True), gradients(policy, rollouts)
    for name in ("logp", "entropy", "hidden", "last"):
        assert_same([getattr(without, name).detach()], [getattr(whole, name).detach()], architecture)
    assert_same(slopes, expected, architecture)


def test_a_head_that_is_not_what_it_seems_is_left_to_the_model(policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    rollouts = drawn(policy)
    expected = policy.logprobs(rollouts)
    policy.module.get_output_embeddings().register_forward_hook(lambda _module, _given, output: 2 * output)
    del policy.model.head
    assert policy.model.head is None
    other = policy.logprobs(rollouts)
    assert (other - expected).abs().max() > 0.01
    torch.testing.assert_close(other.detach(), by_hand(policy, rollouts), rtol=0, atol=1e-5)


def test_a_head_that_does_not_agree_with_the_model_is_not_believed(
    policy_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = policy_of("gemma2")
    rollouts = drawn(policy)
    its = policy.model.head
    assert its.softcap == 3.0
    for wrong in ({"softcap": None}, {"scale": 1.01}, {"weight": its.weight + 0.01}):
        monkeypatch.setattr(causal.Head, "of", lambda _module, wrong=wrong: its._replace(**wrong))
        del policy.model.head
        assert policy.model.head is None
        torch.testing.assert_close(policy.logprobs(rollouts).detach(), rollouts.logp, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "gpt_neox"])
def test_dropout_is_off_in_both_passes(architecture: str, policy_of: Callable[..., Any]) -> None:
    names = ("attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop")
    policy = policy_of(architecture, **dict.fromkeys(names, 0.1))
    rollouts = drawn(policy)
    for _ in range(2):
        torch.testing.assert_close(policy.logprobs(rollouts).detach(), rollouts.logp, rtol=0, atol=1e-5)
    policy.module.train()
    assert (policy.logprobs(rollouts) - rollouts.logp).abs().max() > 0.01  # or there would be no dropout to turn off


def test_nothing_chosen_gives_zeros(policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    rollouts = drawn(policy)
    nothing = torch.zeros_like(rollouts.mask)
    silent = replace(rollouts, mask=nothing, logp=torch.zeros_like(rollouts.logp))
    assert not policy.logprobs(silent).any()
