from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rlaif_core import ConfigError, Sampling, TrainingError, sampling
from rlaif_core.sampling import Decoder, pick, seeds_of, uniforms

LOGITS = torch.tensor([1.0, -math.inf, 0.0, 2.0, -1.0, -math.inf, 0.5, -6.0])
TINY = 2.0**-53  # the smallest step of the numbers that `uniforms` gives


def picked(uniform: Tensor, how: Sampling, logits: Tensor = LOGITS) -> tuple[Tensor, Tensor, Tensor | None]:
    return pick(logits.expand(len(uniform), -1), uniform, how)


def chi_square(tokens: Tensor, p: Tensor) -> float:
    expected = p * len(tokens)
    seen = torch.bincount(tokens, minlength=len(p)).double()
    assert not seen[expected == 0].any()
    return float(((seen - expected).square() / expected)[expected > 0].sum())


# ---- the distribution of one draw


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_tokens_are_drawn_from_the_tempered_softmax(temperature: float) -> None:
    uniform = uniforms(seeds_of(0, 1, ["p"], 400), 100).flatten()
    tokens, logp, kept = picked(uniform, Sampling(temperature=temperature))
    p = (LOGITS.double() / temperature).softmax(-1)
    assert chi_square(tokens, p) < 25  # 5 degrees of freedom: one chance in 7,000
    assert chi_square(tokens, (LOGITS.double() / (temperature * 1.2)).softmax(-1)) > 50
    torch.testing.assert_close(logp.double(), p.log()[tokens], rtol=0, atol=1e-6)
    assert kept is None


def test_evenly_spread_numbers_give_every_token_its_exact_share() -> None:
    count = 100_000
    tokens, _, _ = picked((torch.arange(count, dtype=torch.float64) + 0.5) / count, Sampling())
    shares = torch.bincount(tokens, minlength=8).double()
    torch.testing.assert_close(shares, LOGITS.double().softmax(-1) * count, rtol=0, atol=1.5)


@pytest.mark.parametrize("how", [Sampling(), Sampling(top_k=6), Sampling(min_p=1e-9)])
def test_the_ends_of_the_unit_interval(how: Sampling) -> None:
    logits = torch.tensor([-math.inf, -math.inf, 0.3, 0.1, -math.inf, 0.2, -math.inf])
    tokens, logp, _ = picked(torch.tensor([0.0, 1 - TINY], dtype=torch.float64), how, logits)
    assert set(tokens.tolist()) <= {2, 3, 5}
    assert tokens[0] != tokens[1]
    assert torch.isfinite(logp).all()


def test_no_number_draws_a_token_of_probability_zero_from_a_large_vocabulary() -> None:
    """Cumulated probabilities of many tokens do not end at exactly 1."""
    logits = torch.randn(64, 50_000)
    logits[:, ::2] = -math.inf
    logits[:, 40_000:] = -math.inf
    ends = torch.tensor([0.0, TINY, 0.5, 1 - TINY], dtype=torch.float64).repeat(16)
    tokens, logp, _ = pick(logits, ends, Sampling())
    assert torch.isfinite(logits.gather(1, tokens[:, None])).all()
    assert torch.isfinite(logp).all()


def test_rare_tokens_are_drawn_at_their_rate() -> None:
    """Single precision cannot tell apart cumulated probabilities that are 1e-9 apart."""
    rare = torch.arange(1, 1001)
    logits = torch.full((1001,), math.log(1e-9))
    logits[0] = 0
    p = logits.softmax(-1).double()
    tokens, _, _ = picked((p.cumsum(0)[rare] - p[rare] / 2) / p.sum(), Sampling(), logits)
    assert torch.equal(tokens, rare)


def test_rows_are_drawn_each_with_its_own_number() -> None:
    logits, uniform = torch.randn(5, 9), uniforms([1, 2, 3, 4, 5], 1)[:, 0]
    together, _, _ = pick(logits, uniform, Sampling())
    alone = [int(pick(logits[row : row + 1], uniform[row : row + 1], Sampling())[0]) for row in range(5)]
    assert together.tolist() == alone


def support(how: Sampling) -> set[int]:
    count = 4000
    tokens, logp, kept = picked((torch.arange(count, dtype=torch.float64) + 0.5) / count, how)
    listed = {token for token in kept[0].tolist() if token >= 0}
    p = torch.zeros(8, dtype=torch.float64)
    p[list(listed)] = (LOGITS.double() / how.temperature).softmax(-1)[list(listed)]
    p /= p.sum()
    torch.testing.assert_close(torch.bincount(tokens, minlength=8).double(), p * count, rtol=0, atol=1.5)
    torch.testing.assert_close(logp.double(), p.log()[tokens], rtol=0, atol=1e-6)
    return listed


def test_truncations_one_by_one() -> None:
    p = LOGITS.softmax(-1)  # 3: 0.52, 0: 0.19, 6: 0.12, 2: 0.07 ...
    assert support(Sampling(top_k=1)) == {3}
    assert support(Sampling(top_k=3)) == {3, 0, 6}
    assert support(Sampling(top_p=float(p[3]) - 0.01)) == {3}
    assert support(Sampling(top_p=float(p[3]) + 0.01)) == {3, 0}
    assert support(Sampling(min_p=float(p[6] / p[3]) - 0.01)) == {3, 0, 6}
    assert support(Sampling(min_p=float(p[6] / p[3]) + 0.01)) == {3, 0}
    assert support(Sampling(top_p=1e-9)) == {3}
    assert support(Sampling(top_k=500)) == {0, 2, 3, 4, 6, 7}


def test_truncations_apply_after_the_temperature_and_in_turn() -> None:
    assert support(Sampling(top_p=0.8, temperature=0.2)) == {3}
    assert len(support(Sampling(top_p=0.8, temperature=5.0))) > 3
    # Of the two likeliest, the first has 0.73: top_p looks at what top_k left, min_p at what the top one has there.
    assert support(Sampling(top_k=2, top_p=0.7)) == {3}
    assert support(Sampling(top_k=4, top_p=0.9, min_p=0.3)) == {3, 0}


def test_nan_and_infinite_logits_give_nan_and_a_token_that_exists() -> None:
    for bad in (math.nan, math.inf):
        logits = torch.randn(2, 6)
        logits[1, 2] = bad
        for how in (Sampling(), Sampling(top_k=3)):
            tokens, logp, _ = pick(logits, torch.tensor([0.3, 0.999], dtype=torch.float64), how)
            assert 0 <= int(tokens[1]) < 6
            assert math.isnan(float(logp[1]))
            assert math.isfinite(float(logp[0]))


# ---- the streams of numbers


def test_a_stream_depends_on_its_seed_alone() -> None:
    torch.manual_seed(1)
    first = uniforms([11, 12, 13], 7)
    torch.manual_seed(2)
    assert torch.equal(uniforms([12, 99], 7)[0], first[1])
    assert torch.equal(uniforms([12], 40)[0, :7], first[1])  # of any length
    assert len(first.unique()) == first.numel()
    assert first.dtype == torch.float64


def test_seeds_differ_by_run_step_prompt_and_sample() -> None:
    base = seeds_of(0, 1, ["a", "b"], 3)
    assert len({*base, *seeds_of(1, 1, ["a", "b"], 3), *seeds_of(0, 2, ["a", "b"], 3)}) == 18
    assert seeds_of(0, 1, ["b"], 3) == base[3:]
    assert all(0 <= seed < 2**63 for seed in base)


def test_a_prompt_that_comes_twice_gets_fresh_seeds() -> None:
    twice = seeds_of(0, 1, ["a", "b", "a"], 2)
    assert len(set(twice)) == 6
    assert twice[4:] == seeds_of(0, 1, ["a"], 4)[2:]


# ---- the decode loop


def decoder(policy: Any, ends: set[int] | None = None) -> Decoder:
    chat = policy.chat
    return Decoder(policy.model, pad=chat.pad, ends=frozenset(chat.ends if ends is None else ends), decode=chat.spell)


ROWS = [[3, 4, 5], [6], [7, 8, 9, 10, 11, 12, 13]]


def test_answers_end_with_the_first_end_token(policy_of: Callable[..., Any]) -> None:
    ends = set(range(20, 50))
    drawn = decoder(policy_of(), ends).draw(ROWS, range(12), Sampling(max_tokens=15), share=4)
    assert int(drawn.stopped.sum()) > 0
    assert drawn.tokens.shape[1] == int(drawn.lengths.max())
    for tokens, logp, length, stopped in zip(
        drawn.tokens.tolist(), drawn.logp.tolist(), drawn.lengths.tolist(), drawn.stopped.tolist(), strict=True
    ):
        places = [at for at, token in enumerate(tokens[:length]) if token in ends]
        assert places == ([length - 1] if stopped else [])
        assert stopped or length == 15
        assert not any(logp[length:])
        assert all(logp[:length])


def test_finished_answers_leave_the_batch_and_change_nothing(
    policy_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, ends = policy_of("gpt2"), set(range(20, 50))
    sizes: list[int] = []
    policy.module.register_forward_pre_hook(lambda *given: sizes.append(len(given[2]["input_ids"])), with_kwargs=True)
    together = decoder(policy, ends).draw(ROWS, range(12), Sampling(max_tokens=15), share=4)
    assert sizes[0] == 3
    assert sizes[1] == 12
    assert sizes[-1] < 6
    for row in range(12):
        alone = decoder(policy, ends).draw([ROWS[row // 4]], [row], Sampling(max_tokens=15))
        length = int(alone.lengths[0])
        assert length == int(together.lengths[row])
        assert torch.equal(alone.tokens[0], together.tokens[row, :length])
        torch.testing.assert_close(alone.logp[0], together.logp[row, :length], rtol=0, atol=1e-5)


def test_an_end_at_the_last_allowed_token_is_an_end(policy_of: Callable[..., Any]) -> None:
    drawn = decoder(policy_of(), set(range(108))).draw(ROWS, [1, 2, 3], Sampling(max_tokens=1))
    assert drawn.stopped.all()
    assert drawn.lengths.tolist() == [1, 1, 1]


def test_a_stop_string_may_span_tokens_and_stays(policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    free = decoder(policy, set()).draw(ROWS, [1, 2, 3], Sampling(max_tokens=12))
    text = policy.chat.spell(free.tokens[1].tolist())
    stop = text[3:6]
    drawn = decoder(policy, set()).draw(ROWS, [1, 2, 3], Sampling(max_tokens=12, stop=("never said", stop)))
    said = policy.chat.spell(drawn.tokens[1, : drawn.lengths[1]].tolist())
    assert drawn.stopped[1]
    assert int(drawn.lengths[1]) < 12
    assert said == text[: text.index(stop) + 3]


def test_a_stop_string_may_be_a_control_token(policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    user = policy.chat.tokenizer.convert_tokens_to_ids("<|user|>")
    with torch.no_grad():
        policy.module.lm_head.weight[user] += policy.module.lm_head.weight.mean(0) + 0.3
    drawn = decoder(policy, set()).draw(ROWS, range(60), Sampling(max_tokens=20, stop=("<|user|>",)), share=20)
    ended = drawn.stopped.nonzero()[:, 0].tolist()
    assert ended
    assert {int(drawn.tokens[row, drawn.lengths[row] - 1]) for row in ended} == {user}


def test_supports_are_remembered_for_the_tokens_of_the_answer_alone(policy_of: Callable[..., Any]) -> None:
    how = Sampling(max_tokens=15, top_p=0.6, top_k=30)
    drawn = decoder(policy_of(), set(range(20, 50))).draw(ROWS, range(6), how, share=2)
    assert drawn.kept.shape[:2] == drawn.tokens.shape
    sizes = (drawn.kept >= 0).sum(-1)
    assert sizes.unique().numel() > 2  # top_p leaves more here and less there
    for row, length in enumerate(drawn.lengths.tolist()):
        assert (sizes[row, :length] > 0).all()
        assert not sizes[row, length:].any()
        assert (drawn.kept[row, :length] == drawn.tokens[row, :length, None]).any(-1).all()


def test_too_large_a_support_is_refused(policy_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MOST_KEPT", 5)
    policy = policy_of()
    with pytest.raises(ConfigError, match=r"more than 5 tokens at one position.*add top_k = 5 or less"):
        decoder(policy).draw(ROWS, [1, 2, 3], Sampling(max_tokens=4, top_p=0.9))
    assert decoder(policy).draw(ROWS, [1, 2, 3], Sampling(max_tokens=4, top_p=0.9, top_k=5)).kept.shape[-1] <= 5


def test_what_follows_the_end_of_an_answer_is_refused_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MOST_KEPT", 2)
    wide, over = torch.tensor([[4, 5, -1], [6, 7, 8]]), torch.tensor([False, True])
    assert sampling._memorable(wide, over).tolist() == [[4, 5], [6, 7]]
    with pytest.raises(ConfigError, match="top_k"):
        sampling._memorable(wide, ~over)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_damaged_weights_are_named(bad: float, policy_of: Callable[..., Any]) -> None:
    policy = policy_of()
    with torch.no_grad():
        policy.module.model.layers[1].mlp.down_proj.weight[0, 0] = bad
    with pytest.raises(TrainingError, match="logits are NaN or infinite; its weights are damaged"):
        decoder(policy).draw(ROWS, [1, 2, 3], Sampling(max_tokens=5))
