from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import ConfigError, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.keywords import Keywords


def value(source: Keywords, text: str) -> float:
    (outcome,) = source.score(make_rollouts([text]))
    assert isinstance(outcome, Score)
    assert outcome.reason
    return outcome.value


def test_keeps_the_contract() -> None:
    check_reward(Keywords(want=("yes", "please"), avoid=("no",)))


def test_share_of_the_wanted_less_share_of_the_avoided() -> None:
    source = Keywords(want=("red", "green", "blue"), avoid=("no", "never"))
    assert value(source, "Red and green.") == pytest.approx(2 / 3)
    assert value(source, "Red, no!") == pytest.approx(1 / 3 - 1 / 2)
    assert value(source, "no, never") == -1.0
    assert value(source, "") == 0.0


def test_reason_says_what_was_found() -> None:
    source = Keywords(want=("red", "blue"), avoid=("no",))
    said = [outcome.reason for outcome in source.score(make_rollouts([("no red", "red blue")]))]
    assert said == ["uses red; lacks blue; uses the avoided no", "uses red, blue"]


def test_repeating_a_word_earns_nothing() -> None:
    assert value(Keywords(want=("red", "blue")), "red " * 50) == 0.5


@pytest.mark.parametrize(
    ("word", "text", "found"),
    [
        ("cat", "concatenate", False),
        ("cat", "the CAT.", True),
        ("cat", "cat's", True),
        ("C++", "I like C++!", True),
        ("C++", "C++11", True),
        ("C++", "ABC++", False),
        ("#1", "we are #1", True),
        ("give up", "never GIVE\n  up", True),
        ("give up", "give upwards", False),
        ("naïve", "naive", False),
        ("猫", "我爱猫吗", True),  # no blanks between words there
        ("cat", "猫cat猫", True),
        ("हिन्द", "हिन्दी", False),  # a vowel sign belongs to the word
        ("a.c", "abc", False),  # a text, not a pattern
    ],
)
def test_whole_words_only(word: str, text: str, found: bool) -> None:
    assert value(Keywords(avoid=(word,)), text) == (-1.0 if found else 0.0)


@pytest.mark.parametrize("evasion", ["ＩＤＩＯＴ", "i\u200bdi\u00adot", "іdіоt", "i\u0336diot", "𝐢𝐝𝐢𝐨𝐭"])
def test_avoided_words_are_found_in_disguise(evasion: str) -> None:
    assert value(Keywords(avoid=("idiot",)), f"you {evasion}!") == -1.0


@given(st.permutations(["red", "green", "blue"]), st.permutations(["blue", "red", "dark"]))
def test_order_does_not_matter(keywords: list[str], text: list[str]) -> None:
    assert value(Keywords(want=tuple(keywords)), " ".join(text)) == pytest.approx(2 / 3)


@given(st.text(max_size=60))
def test_any_text_stays_in_range(text: str) -> None:
    assert -1 <= value(Keywords(want=("a", "é"), avoid=("b", "0")), text) <= 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "give want or avoid"),
        ({"want": ("",)}, "no visible character"),
        ({"want": ("\u200b",)}, "no visible character"),
        ({"want": ("yes",), "avoid": ("YES",)}, "'yes' and 'YES' are one word"),
        ({"want": ("cat", "ｃａｔ")}, "are one word"),
    ],
)
def test_lists_that_make_no_sense_are_refused(options: dict[str, tuple[str, ...]], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Keywords(**options)
