from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif_core import Abstain, ConfigError, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.readability import FORMULAS, Counts, Formula, Readability

# Counted by hand: 14 words, 2 sentences, 14 syllables, 41 letters, no long word.
EASY = "The cat sat on the mat. It was warm, and the sun came in."
# 10 words, 2 sentences, 37 syllables, 98 letters; 8 words of three syllables or more, all of them hard.
HARD = "Scientific education demands considerable patience. However, universities encourage independent investigation!"


def said(text: str, source: Readability) -> Any:
    (outcome,) = source.score(make_rollouts([text]))
    assert outcome.reason
    return outcome


def test_keeps_the_contract() -> None:
    check_reward(Readability(max=8, least=1))


@pytest.mark.parametrize(
    ("formula", "easy", "hard"),
    [
        ("flesch_kincaid", 0.39 * 7 + 11.8 * 1 - 15.59, 0.39 * 5 + 11.8 * 3.7 - 15.59),
        ("flesch_reading_ease", 206.835 - 1.015 * 7 - 84.6 * 1, 206.835 - 1.015 * 5 - 84.6 * 3.7),
        ("gunning_fog", 0.4 * 7, 0.4 * (5 + 80)),
        ("smog", 3.1291, 1.0430 * (30 * 8 / 2) ** 0.5 + 3.1291),
        ("coleman_liau", 5.88 * 41 / 14 - 29.6 * 2 / 14 - 15.8, 5.88 * 9.8 - 29.6 * 2 / 10 - 15.8),
        ("automated_readability", 4.71 * 41 / 14 + 0.5 * 7 - 21.43, 4.71 * 9.8 + 0.5 * 5 - 21.43),
    ],
)
def test_formulas_on_passages_counted_by_hand(formula: Formula, easy: float, hard: float) -> None:
    assert FORMULAS[formula][0](Counts(EASY)) == pytest.approx(easy)
    assert FORMULAS[formula][0](Counts(HARD)) == pytest.approx(hard)


def test_names_compounds_and_endings_are_not_hard() -> None:
    text = "Yesterday Alexander created a well-established company, and we invited visitors."
    assert Counts(text).long == 7
    assert Counts(text).hard == 3  # yesterday, company, visitors


def test_within_the_band_costs_nothing_and_beyond_it_what_the_distance_is() -> None:
    grade = 0.39 * 7 + 11.8 - 15.59
    assert said(EASY, Readability(max=5)) == Score(0.0, "flesch_kincaid grade -1.1, as wanted")
    below = said(EASY, Readability(min=4))
    assert below == Score((grade - 4) / 10, "flesch_kincaid grade -1.1, below the wanted 4")
    assert said(HARD, Readability(max=8)) == Score(-1.0, "flesch_kincaid grade 30.0, above the wanted 8")
    ease = said(EASY, Readability("flesch_reading_ease", max=90))
    assert ease.reason == "flesch_reading_ease ease 115.1, above the wanted 90"
    assert ease.value == pytest.approx(-(115.13 - 90) / 50)


def test_items_and_headings_are_sentences_and_code_is_none() -> None:
    text = "# What to take\n- warm socks\n- a big hat\n\n```\nincomprehensible = 1\n```\nThat is all we need now."
    assert [len(words) for words in Counts("- warm socks\n- a big hat").sentences] == [2, 3]
    assert said(text, Readability(max=3)) == Score(0.0, "flesch_kincaid grade -2.4, as wanted")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "0 words of English are too few for a readability"),
        ("Yes, it is.", "3 words of English are too few for a readability"),
        ("```\nx = 1\n```", "0 words of English are too few for a readability"),
        (
            "Das ist ein sehr schöner Tag, und wir gehen jetzt nach Hause.",
            "0 words of English are too few for a readability; it is in German",
        ),
    ],
)
def test_no_opinion_where_there_is_too_little_to_read(text: str, reason: str) -> None:
    assert said(text, Readability(max=8)) == Abstain(reason)


@settings(max_examples=40)
@given(st.text(max_size=80), st.sampled_from(list(FORMULAS)))
def test_any_text_stays_in_range(text: str, formula: Formula) -> None:
    outcome = said(text, Readability(formula, min=5, max=6, least=1))
    assert isinstance(outcome, Abstain) or -1 <= outcome.value <= 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["a" * 10**6, "it is. " * 150_000, ". " * 500_000, "a-" * 500_000, "- \n" * 300_000])
def test_a_megabyte_of_anything_is_read_in_time(text: str) -> None:
    said(text, Readability(max=8))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "give min, max, or both"),
        ({"min": 5, "max": 4}, "min 5 is above max 4"),
        ({"max": float("nan")}, "must be a finite number"),
        ({"max": 5, "least": 0}, "least is 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Readability(**options)


def test_a_missing_library_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spellchecker", None)
    with pytest.raises(ConfigError, match=r"readability needs .* pip install 'rlaif-core\[grammar\]'"):
        Readability(max=8)
