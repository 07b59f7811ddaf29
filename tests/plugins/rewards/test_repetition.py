from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import ConfigError, Score
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


def test_n_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="n is 0"):
        Repetition(n=0)


def test_tokens_of_earlier_turns_do_not_count(drawn) -> None:
    rollouts = drawn("..####..##")
    (outcome,) = Repetition(n=1, unit="tokens").score(replace(rollouts, tokens=torch.tensor([[5] * 8 + [6, 7]])))
    assert outcome == Score(0.0, "none of 2 runs of 1 tokens repeats")
