from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import ConfigError, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_core.testing.values import left_padded
from rlaif_rewards.length import Length


def scored(source: Length, *texts: str) -> list[Score]:
    outcomes = source.score(make_rollouts([texts]))
    assert all(isinstance(outcome, Score) and outcome.reason for outcome in outcomes)
    return list(outcomes)


def test_keeps_the_contract() -> None:
    check_reward(Length(target=3))
    check_reward(Length(min=2, max=4, unit="words"))


def test_penalty_is_the_distance_beyond_the_tolerance_over_the_target() -> None:
    source = Length(target=4, tolerance=1, unit="words")
    values = [outcome.value for outcome in scored(source, "", "a", "a b c", "a b c d e", "a b c d e f g")]
    assert values == [-3 / 4, -2 / 4, 0.0, 0.0, -2 / 4]


def test_band_measures_from_the_limit_that_is_broken() -> None:
    outcomes = scored(Length(min=2, max=4, unit="words"), "a", "a b", "a b c d", "a b c d e f")
    assert [outcome.value for outcome in outcomes] == [-1 / 2, 0.0, 0.0, -2 / 4]
    assert [outcome.reason for outcome in outcomes] == [
        "1 words, 1 too few",
        "2 words, as wanted",
        "4 words, as wanted",
        "6 words, 2 too many",
    ]
    assert [outcome.value for outcome in scored(Length(max=2, unit="words"), "", "a b c")] == [0.0, -0.5]
    assert [outcome.value for outcome in scored(Length(min=2, unit="words"), "", "a " * 99)] == [-1.0, 0.0]


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 30), st.integers(0, 30))
def test_range_dead_band_and_monotony(target: int, tolerance: int, one: int, other: int) -> None:
    source = Length(target=target, tolerance=tolerance, unit="words")
    (near, far) = sorted((one, other), key=lambda length: abs(length - target))
    closer, further = scored(source, "a " * near, "a " * far)
    assert further.value <= closer.value <= 0
    assert (closer.value == 0) == (abs(near - target) <= tolerance)
    assert near > target or closer.value >= -1


def test_buffer_leads_down_to_the_limit_and_no_further() -> None:
    source = Length(max=10, buffer=4, unit="words")
    outcomes = scored(source, *("a " * length for length in (0, 6, 7, 9, 10, 11, 500)))
    assert [outcome.value for outcome in outcomes] == [0.0, 0.0, -1 / 4, -3 / 4, -1.0, -1.0, -1.0]
    assert outcomes[2].reason == "7 words, 10 being the limit"
    assert [its.value for its in scored(Length(max=2, buffer=2, unit="words"), "", "a", "a b")] == [0.0, -0.5, -1.0]
    check_reward(source)


@pytest.mark.filterwarnings("ignore")  # of another project, which is not ours to mend
def test_buffer_punishes_as_trl_does() -> None:
    theirs = pytest.importorskip("trl.rewards").get_soft_overlong_punishment(max_completion_len=9, soft_punish_cache=5)
    texts = ["yes " * length for length in range(12)]
    expected = theirs([[0] * (length + 1) for length in range(12)])  # the end of sequence is a token
    assert [outcome.value for outcome in scored(Length(max=9, buffer=5), *texts)] == pytest.approx(expected)


def test_tokens_do_not_depend_on_padding() -> None:
    rollouts = make_rollouts([("yes", "yes please thanks")])
    source = Length(target=2)
    assert source.score(rollouts) == source.score(left_padded(rollouts))
    assert [outcome.value for outcome in source.score(rollouts)] == [0.0, -1.0]


def test_invisible_characters_and_blanks_do_not_make_an_answer_longer() -> None:
    (plain, stuffed) = scored(Length(min=10, unit="characters"), "word", "word" + " \u200b" * 50)
    assert plain.value == -0.6
    assert stuffed.value == plain.value


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "give either target"),
        ({"target": 0}, "give either target"),
        ({"target": 3, "max": 5}, "give either target"),
        ({"target": -3}, "cannot be negative"),
        ({"min": 5, "max": 4}, "min 5 is above max 4"),
        ({"min": 5, "tolerance": 1}, "tolerance belongs to target"),
        ({"min": 3, "max": 5, "buffer": 3}, "buffer 3 does not fit between min 3 and max 5"),
        ({"target": 5, "buffer": 3}, "buffer 3 does not fit between min 0 and max 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, int], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Length(**options)


def test_tokens_of_earlier_turns_do_not_count(drawn) -> None:
    (outcome,) = Length(target=2).score(drawn("..####..##"))
    assert outcome == Score(0.0, "2 tokens, as wanted")
