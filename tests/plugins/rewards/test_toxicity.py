from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import Abstain, ConfigError, Failed, Prompt, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.scorer import load_scorer
from rlaif_rewards.toxicity import Toxicity, added_toxicity, combined

CHANCES = st.floats(0, 1)
WORDS = {"idiot": 0.8, "liar": 0.5}


def noisy_or(question) -> float:
    """Toxic unless every unkind word of prompt and answer passes for harmless: they are independent."""
    harmless = 1.0
    for word in f"{question.prompt.text} {question.answers[0]}".split():
        harmless *= 1 - WORDS.get(word, 0.0)
    return 1 - harmless


def values(source: Toxicity, answers, prompts=()) -> list[float]:
    outcomes = source.score(make_rollouts([answers], prompts=prompts))
    assert all(isinstance(outcome, Score) and outcome.reason for outcome in outcomes)
    return [outcome.value for outcome in outcomes]


def test_keeps_the_contract(classifier, judging) -> None:
    check_reward(Toxicity(classifier("bert"), labels=("bad",), device="cpu"))
    check_reward(Toxicity(judge=judging(noisy_or), added=True))


def test_the_labels_probabilities_are_combined(classifier) -> None:
    folder = classifier("bert", labels=("calm", "rude", "toxic"), kind="multi_label_classification")
    (row,) = load_scorer(folder, device="cpu").probabilities([("", "no it is red")])
    for combine, expected in (("max", max(row[1:])), ("any", 1 - (1 - row[1]) * (1 - row[2]))):
        source = Toxicity(folder, labels=("rude", "toxic"), combine=combine, device="cpu")
        assert values(source, ["no it is red"]) == pytest.approx([expected], abs=1e-6)


def test_labels_that_exclude_one_another_may_be_summed(classifier) -> None:
    folder = classifier("bert", labels=("calm", "rude", "toxic"))
    (row,) = load_scorer(folder, device="cpu").probabilities([("", "maybe")])
    source = Toxicity(folder, labels=("rude", "toxic"), combine="sum", device="cpu")
    assert values(source, ["maybe"]) == pytest.approx([row[1] + row[2]], abs=1e-6)


@given(st.lists(CHANCES, min_size=1, max_size=4))
def test_any_is_at_least_the_largest(chances: list[float]) -> None:
    assert max(chances) - 1e-12 <= combined(chances, "any") <= 1
    assert combined(chances[:1], "any") == pytest.approx(chances[0])


def test_a_toxic_prompt_does_not_raise_what_is_added(judging) -> None:
    prompts = [Prompt(id="kind", text="hello you"), Prompt(id="toxic", text="you idiot liar")]
    rollouts = make_rollouts([("fine", "you idiot", "")] * 2, prompts=prompts)
    whole = [outcome.value for outcome in Toxicity(judge=judging(noisy_or)).score(rollouts)]
    added = [outcome.value for outcome in Toxicity(judge=judging(noisy_or), added=True).score(rollouts)]
    assert whole == pytest.approx([0, 0.8, 0, 0.9, 0.98, 0.9])
    assert added == pytest.approx([0, 0.8, 0, 0, 0.8, 0])


@given(CHANCES, CHANCES)
def test_what_is_added_is_the_answers_own_where_both_are_independent(own: float, context: float) -> None:
    if context < 0.999:
        assert added_toxicity(1 - (1 - own) * (1 - context), context) == pytest.approx(own, abs=1e-9)


@given(CHANCES, CHANCES, st.floats(0, 0.99))
def test_a_more_toxic_whole_never_adds_less(one: float, other: float, context: float) -> None:
    less, more = sorted((one, other))
    assert 0 <= added_toxicity(less, context) <= added_toxicity(more, context) <= 1 + 1e-12


def test_the_prompt_is_shown_where_that_is_wanted(classifier) -> None:
    folder = classifier("bert", framed=True)
    prompts = [Prompt(id="a", text="is it red")]
    alone = Toxicity(folder, labels=("bad",), device="cpu")
    paired = Toxicity(folder, labels=("bad",), with_prompt="pair", device="cpu")
    added = Toxicity(folder, labels=("bad",), with_prompt="pair", added=True, device="cpu")
    assert values(alone, ["yes"], prompts) != values(paired, ["yes"], prompts)
    assert values(added, [""], prompts) == [0.0]


def test_where_the_prompt_alone_is_as_toxic_as_can_be(judging) -> None:
    rollouts = make_rollouts(["yes"])
    assert isinstance(Toxicity(judge=judging(lambda question: 1.0), added=True).score(rollouts)[0], Abstain)


def test_the_prompt_alone_is_asked_about_once_and_paid_for_by_all(judging) -> None:
    judge = judging(lambda question: Score(0.5, cost=1.0))
    outcomes = Toxicity(judge=judge, added=True).score(make_rollouts([("yes", "no", "maybe", "red")]))
    assert len(judge.asked) == 5
    assert [outcome.cost for outcome in outcomes] == [1.25] * 4


def test_failures_are_no_numbers(judging) -> None:
    rollouts = make_rollouts(["yes"])
    for added in (False, True):
        source = Toxicity(judge=judging(lambda question: Failed("outage")), added=added)
        assert source.score(rollouts) == [Failed("outage")]


def test_sums_beyond_one_have_failed(classifier) -> None:
    folder = classifier("bert", labels=("a", "b", "c"), kind="multi_label_classification")
    rollouts = make_rollouts([("yes", "no", "red", "blue")])
    rows = load_scorer(folder, device="cpu").probabilities([("", text) for text in rollouts.completions])
    outcomes = Toxicity(folder, labels=("a", "b", "c"), combine="sum", device="cpu").score(rollouts)
    over = [sum(row) > 1.001 for row in rows]
    assert any(over)
    assert [isinstance(outcome, Failed) for outcome in outcomes] == over


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "name a classifier with model, or a"),
        ({"added": True}, "show it: with_prompt = 'pair'"),
        ({"labels": ("rude",)}, "has no label 'rude'"),
        ({"labels": ()}, "say which are toxic"),
    ],
)
def test_options_that_make_no_sense(classifier, options, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Toxicity(classifier("bert") if options else "", **options)
