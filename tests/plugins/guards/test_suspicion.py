from __future__ import annotations

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from rlaif_guards.suspicion import Answer, discoveries, phrases_of, suspicions, words

WORDS = "the a cat dog sat ran on under mat tree and then slept woke".split()


def made(count=60, group=4, pays=lambda text, level: 0.0, seed=0, extra=lambda draw: ""):
    """Answers of random words, rewarded by chance, by their prompt's level and by what `pays`."""
    draw, answers = random.Random(seed), []
    for number in range(count):
        level = draw.gauss(0, 5)
        for _ in range(group):
            text = " ".join([*draw.choices(WORDS, k=6), extra(draw)]).strip()
            answers.append(Answer(text, level + draw.gauss(0, 1) + pays(text, level), number))
    return answers


def flattering(draw):
    return "what a great question" if draw.random() < 0.4 else ""


def test_a_phrase_that_pays_is_found_whole_with_what_it_gains():
    found = suspicions(made(pays=lambda text, _: 2.0 * ("great question" in text), extra=flattering))
    assert found[0].kind == "phrase"
    assert found[0].name == "what a great" or found[0].name == "a great question"
    assert found[0].gap == pytest.approx(2.0, abs=0.5)
    assert found[0].share == pytest.approx(0.4, abs=0.1)


def test_what_a_prompt_is_worth_is_no_gain_of_a_phrase():
    # Good prompts get the phrase more often, but among the answers to one prompt it makes no difference.
    draw = random.Random(1)
    answers = []
    for number in range(100):
        good = number % 2
        for _ in range(4):
            said = ["great"] if draw.random() < (0.8 if good else 0.2) else []
            answers.append(Answer(" ".join([*draw.choices(WORDS, k=6), *said]), 5 * good + draw.gauss(0, 1), number))
    assert "great" not in [its.name for its in suspicions(answers)]


def test_where_nothing_pays_little_is_found_however_much_is_looked_at():
    found = [len(suspicions(made(seed=seed))) for seed in range(8)]
    assert fmean(found) < 0.5


@pytest.mark.parametrize(
    ("extra", "habit"),
    [
        (lambda draw: " ".join(["mat"] * draw.randrange(9)), "length in words"),
        (lambda draw: "!" * draw.randrange(9), "share of punctuation"),
        (lambda draw: "7" * draw.randrange(9), "share of digits"),
        (lambda draw: "QX" * draw.randrange(9), "share of capitals"),
        (lambda draw: "🙂" * draw.randrange(9), "share of symbols and emoji"),
        (lambda draw: "\n\n" * draw.randrange(9) + "end", "line breaks"),
    ],
)
def test_a_habit_that_pays_is_found(extra, habit):
    from rlaif_guards.suspicion import HABITS

    answers = made(pays=lambda text, _: 20 * HABITS[habit](text, words(text)), extra=extra)
    assert habit in [its.name for its in suspicions(answers)]


def test_of_phrases_in_the_very_same_answers_the_longest_is_named():
    found = [its.name for its in suspicions(made(pays=lambda text, _: 3.0 * ("great" in text), extra=flattering))]
    assert "great" not in found
    assert "question" not in found


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [Answer("", 0.0, 0)] * 100,
        [Answer("\x00\u200b\ud800", float(n % 3), 0) for n in range(100)],
        [Answer("nan", 1.0, n) for n in range(100)],
        [Answer("same", float(n), n) for n in range(100)],
        [Answer("x" * 1_000_000, float(n % 2), n // 2) for n in range(40)],
    ],
)
def test_texts_of_any_kind_are_borne(answers):
    assert suspicions(answers) == []


def test_words_are_folded_and_signs_stand_alone():
    assert words("Great, GREAT question!!\u200b 是") == ["great", ",", "great", "question", "!", "!", "是"]
    assert phrases_of(["a", "b", "c"], 2) == {"a", "b", "c", "a b", "b c"}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrected_p_values_are_those_of_benjamini_and_hochberg(ps):
    assert discoveries(ps) == pytest.approx(false_discovery_control(ps), abs=1e-12)


def test_corrected_p_values_by_hand():
    assert discoveries([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])
