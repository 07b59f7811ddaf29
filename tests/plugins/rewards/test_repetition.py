from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import Abstain, ConfigError, Prompt, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.repetition import Repetition


def value(source: Repetition, text: str) -> float:
    (outcome,) = source.score(make_rollouts([text]))
    assert isinstance(outcome, Score)
    assert outcome.reason
    return outcome.value


def test_keeps_the_contract() -> None:
    check_reward(Repetition(n=2))
    check_reward(Repetition(n=1, unit="tokens"))


@given(st.integers(1, 5), st.integers(0, 20))
def test_constant_text_repeats_all_but_one(n: int, length: int) -> None:
    expected = -(1 - 1 / (length - n + 1)) if length >= n else 0.0
    assert value(Repetition(n=n), "word " * length) == pytest.approx(expected)


def test_value_by_hand() -> None:
    # the cat | cat the | the cat | cat sat: three different of four
    assert value(Repetition(n=2), "The cat, the CAT sat") == -1 / 4
    assert value(Repetition(n=2), "one two three") == 0.0


def test_units() -> None:
    assert value(Repetition(n=1, unit="characters"), "aab") == pytest.approx(-1 / 3)
    assert value(Repetition(n=1, unit="tokens"), "yes yes yes no") == pytest.approx(-2 / 5)  # with the end of sequence
    assert value(Repetition(n=1), "猫猫猫") == pytest.approx(-2 / 3)


def test_invisible_characters_hide_nothing() -> None:
    assert value(Repetition(n=1), "so s\u200bo ѕо") == pytest.approx(-2 / 3)


def test_shorter_than_n_and_nothing_at_all() -> None:
    assert value(Repetition(n=3), "a a") == 0.0
    assert value(Repetition(n=3), "") == 0.0


def test_reason_names_the_worst() -> None:
    (outcome,) = Repetition(n=2).score(make_rollouts(["no no no yes"]))
    assert outcome.reason == "1 of 3 runs of 2 words repeat: 'no no' 2 times"


@given(st.text(max_size=60), st.integers(1, 4))
def test_any_text_stays_in_range(text: str, n: int) -> None:
    assert -1 < value(Repetition(n=n, unit="characters"), text) <= 0


TALK = Prompt(
    id="talk",
    messages=({"role": "system", "content": "be very brief"}, {"role": "user", "content": "The cat sat on a mat."}),
)


def test_against_the_prompt_counts_what_is_copied_from_any_message() -> None:
    source = Repetition(n=2, against="prompt")
    answers = ("the CAT sat down", "very brief indeed", "a dog", "sat", "mat be")
    outcomes = source.score(make_rollouts([answers], prompts=[TALK]))
    assert [outcome.value for outcome in outcomes] == pytest.approx([-2 / 3, -1 / 2, 0.0, 0.0, 0.0])
    assert outcomes[0].reason == "2 of 3 runs of 2 words occur in the prompt, as 'the cat'"
    assert outcomes[2].reason == "none of 1 runs of 2 words occur in the prompt"
    check_reward(source)


def test_repeating_the_prompt_over_and_over_is_all_copied() -> None:
    (outcome,) = Repetition(n=1, against="prompt").score(make_rollouts(["cat cat cat"], prompts=[TALK]))
    assert outcome.value == -1.0


def test_against_siblings_compares_answers_of_one_group_only() -> None:
    source = Repetition(n=1, against="siblings")
    outcomes = source.score(make_rollouts([("red blue", "red green", "red blue"), ("red", "pink"), "red"]))
    assert [outcome.value for outcome in outcomes[:5]] == [-3 / 4, -1 / 2, -3 / 4, 0.0, 0.0]
    assert outcomes[0].reason == "1.5 of 2 runs of 1 words occur in another answer, the mean of 2, as 'red'"
    assert outcomes[5] == Abstain("there is no other answer to compare with")
    check_reward(source, pointwise=False)
    check_reward(Repetition(n=1, unit="tokens", against="siblings"), pointwise=False)


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6).map(" ".join), min_size=2, max_size=5), st.integers(1, 2))
def test_siblings_are_compared_as_all_pairs_would_be(answers: list[str], n: int) -> None:
    def grams(text: str) -> list[tuple[str, ...]]:
        words = text.split()
        return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]

    def share(one: str, other: str) -> float:
        return sum(run in grams(other) for run in grams(one)) / max(len(grams(one)), 1)

    outcomes = Repetition(n=n, against="siblings").score(make_rollouts([answers]))
    for row, outcome in enumerate(outcomes):
        others = [its for place, its in enumerate(answers) if place != row]
        assert outcome.value == pytest.approx(-sum(share(answers[row], its) for its in others) / len(others))


def test_tokens_of_a_prompt_are_refused() -> None:
    with pytest.raises(ConfigError, match="a prompt is told in words or characters"):
        Repetition(unit="tokens", against="prompt")


def test_n_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="n is 0"):
        Repetition(n=0)


def test_tokens_of_earlier_turns_do_not_count(drawn) -> None:
    rollouts = drawn("..####..##")
    (outcome,) = Repetition(n=1, unit="tokens").score(replace(rollouts, tokens=torch.tensor([[5] * 8 + [6, 7]])))
    assert outcome == Score(0.0, "none of 2 runs of 1 tokens repeats")
