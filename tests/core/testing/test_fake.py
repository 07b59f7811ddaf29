from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

import rlaif_core as rl
from rlaif_core.testing import FakeCritic, FakePolicy, check_policy, make_rollouts

PROMPTS = [rl.Prompt(id="one", text="is it red"), rl.Prompt(id="two", text="yes or no")]


def sampled(policy: FakePolicy, *, group: int = 3, seed: int = 0, **sampling: object) -> rl.Rollouts:
    options = {"max_tokens": 6, **sampling}
    return policy.sampler(seed=seed, step=1, group=group).sample(PROMPTS, rl.Sampling(**options))  # type: ignore[arg-type]


def test_keeps_the_contract_of_a_policy() -> None:
    check_policy(FakePolicy())


def test_is_a_policy_of_some_hundred_parameters() -> None:
    assert sum(p.numel() for p in FakePolicy().module.parameters()) < 500


def test_needs_no_transformers() -> None:
    code = "import sys, rlaif_core.testing; sys.exit('transformers' in sys.modules or 'datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_seed_decides_the_weights_and_leaves_the_global_stream_alone() -> None:
    before = torch.get_rng_state()
    one, other, third = FakePolicy(seed=1), FakePolicy(seed=1), FakePolicy(seed=2)
    assert torch.equal(before, torch.get_rng_state())
    rollouts = make_rollouts()
    assert torch.equal(one.logprobs(rollouts), other.logprobs(rollouts))
    assert not torch.equal(one.logprobs(rollouts), third.logprobs(rollouts))


def test_words_come_as_often_as_the_model_says() -> None:
    policy = FakePolicy(words=("yes", "no"))
    rollouts = sampled(policy, group=1000, max_tokens=1)
    tokens = rollouts.tokens[rollouts.mask][:1000]  # the answers to the first prompt
    exact = {
        int(token): math.exp(logp) for token, logp in zip(tokens, rollouts.logp[rollouts.mask][:1000], strict=True)
    }
    assert sum(exact.values()) == pytest.approx(1, abs=1e-5)
    for token, count in Counter(tokens.tolist()).items():
        p = exact[token]
        assert abs(count / 1000 - p) < 4 * math.sqrt(p * (1 - p) / 1000)


@pytest.mark.parametrize("sampling", [{"top_k": 2}, {"top_p": 0.4}, {"min_p": 0.5}, {"temperature": 0.3}])
def test_forward_gives_the_log_probs_of_what_was_sampled(sampling: dict[str, float]) -> None:
    policy = FakePolicy()
    rollouts = sampled(policy, **sampling)
    assert (rollouts.kept is not None) == ("temperature" not in sampling)
    assert torch.allclose(policy.logprobs(rollouts), rollouts.logp, atol=1e-5)


def test_only_the_kept_words_are_drawn_and_their_entropy_is_bounded() -> None:
    policy = FakePolicy()
    rollouts = sampled(policy, top_k=2)
    assert rollouts.kept is not None
    assert (rollouts.kept == rollouts.tokens[..., None]).any(-1)[rollouts.mask].all()
    entropy = policy.forward(rollouts, entropy=True).entropy
    assert entropy is not None
    assert 0 < float(entropy.detach().max()) <= math.log(2) + 1e-6


def test_answers_end_at_eos_at_a_stop_string_or_cut_off() -> None:
    policy = FakePolicy()
    rollouts = sampled(policy, group=20, stop=("re",))
    for completion, finish, row in zip(rollouts.completions, rollouts.finish, range(40), strict=True):
        chosen = rollouts.tokens[row][rollouts.mask[row]]
        ended = int(chosen[-1]) == 0 or "re" in completion
        assert finish == ("stop" if ended else "length")
        assert "re" not in " ".join(completion.split()[:-1])
    assert {"stop", "length"} == set(rollouts.finish)


def test_an_answer_does_not_depend_on_its_company() -> None:
    policy = FakePolicy()
    together = sampled(policy)
    alone = policy.sampler(seed=0, step=1, group=3).sample(PROMPTS[1:], rl.Sampling(max_tokens=6))
    assert alone.completions == together.completions[3:]
    assert torch.equal(alone.logp[alone.mask], together.logp[3:][together.mask[3:]])


def test_a_second_turn_keeps_the_first_and_carries_the_conversation() -> None:
    policy = FakePolicy()
    first = sampled(policy, top_k=3)
    second = policy.sampler(seed=0, step=1, group=3).extend(
        first, ["maybe red"] * 6, rl.Sampling(max_tokens=3, top_k=3)
    )
    for row in range(6):
        before, after = first.tokens[row][first.attend[row]], second.tokens[row][second.attend[row]]
        assert torch.equal(after[: len(before)], before)
        assert second.prompts[row].messages[-2:] == (
            {"role": "assistant", "content": first.completions[row]},
            {"role": "user", "content": "maybe red"},
        )
    assert (second.mask.sum(1) > first.mask.sum(1)).all()
    assert torch.allclose(policy.logprobs(second), second.logp, atol=1e-5)


def test_turns_at_two_temperatures_are_refused() -> None:
    policy = FakePolicy()
    sampler = policy.sampler(seed=0, step=1, group=3)
    with pytest.raises(rl.ConfigError, match="at one temperature"):
        sampler.extend(sampled(policy), ["yes"] * 6, rl.Sampling(temperature=0.5))


def test_recorded_answers_are_scored_word_by_word() -> None:
    policy = FakePolicy()
    rollouts = policy.sampler(seed=0, step=1, group=1).recorded(PROMPTS, [["", "unheard of"], ["yes"]])
    assert rollouts.completions == ("", "unheard of", "yes")
    assert rollouts.group.tolist() == [0, 0, 1]
    assert rollouts.mask.sum(1).tolist() == [1, 3, 2]  # each ends with the end-of-sequence token
    tokens, attend = rollouts.tokens[1:2, :6], rollouts.attend[1:2, :6]
    logits = policy.module(tokens, attend)[1].detach().log_softmax(-1)
    by_hand = [float(logits[0, t - 1, tokens[0, t]]) for t in (3, 4, 5)]
    assert rollouts.logp[1][rollouts.mask[1]].tolist() == pytest.approx(by_hand, abs=1e-5)


def test_the_reference_stays_where_training_began() -> None:
    policy, rollouts = FakePolicy(), make_rollouts()
    with pytest.raises(rl.ConfigError, match="nobody called keep_reference"):
        policy.reference_logprobs(rollouts)
    start = policy.logprobs(rollouts).detach()
    policy.keep_reference()
    with torch.no_grad():
        for parameter in policy.module.parameters():
            parameter += 0.5
    policy.keep_reference()  # a second promise changes nothing
    assert torch.allclose(policy.reference_logprobs(rollouts), start, atol=1e-6)
    assert not torch.allclose(policy.logprobs(rollouts), start, atol=1e-2)


def test_what_is_saved_can_be_loaded(tmp_path: Path) -> None:
    policy = FakePolicy(words=("yes", "red"), hidden=4, seed=3)
    rollouts = sampled(policy)
    policy.save(tmp_path / "policy")
    loaded = FakePolicy.load(tmp_path / "policy")
    assert loaded.words == policy.words
    assert torch.equal(loaded.logprobs(rollouts), policy.logprobs(rollouts))
    with pytest.raises(rl.CheckpointError, match="holds no FakePolicy"):
        FakePolicy.load(tmp_path)


def test_hidden_states_stand_where_they_predict() -> None:
    policy, rollouts = FakePolicy(), make_rollouts([("yes please", "no")])
    said = policy.forward(rollouts, hidden=True)
    assert said.hidden is not None
    assert said.last is not None
    logits = policy.module.head(said.hidden)  # type: ignore[operator]
    logp = logits.log_softmax(-1).gather(-1, rollouts.tokens[..., None])[..., 0]
    assert torch.allclose(logp[rollouts.mask], said.logp[rollouts.mask], atol=1e-6)
    assert said.last.shape == (2, policy.hidden_size)
    assert (said.hidden[~rollouts.mask] == 0).all()


def test_the_critic_gives_values_on_chosen_tokens_alone() -> None:
    rollouts = make_rollouts()
    values = FakeCritic().values(rollouts)
    assert (values[~rollouts.mask] == 0).all()
    assert FakeCritic().values_after(rollouts).shape == (4,)
