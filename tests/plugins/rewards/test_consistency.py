from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from rlaif_core import Abstain, ConfigError, Failed, Prompt, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.consistency import MOST, Consistency, contradicted
from rlaif_rewards.entailment import Relation
from rlaif_rewards.likeness import Likeness

NLI = """
def relation(premise, hypothesis):
    if hypothesis.strip(" .") in premise:
        return {"entailment": 0.8, "contradiction": 0.1}
    same = premise.split()[:2] == hypothesis.split()[:2]
    return {"entailment": 0.0, "contradiction": 0.9 if same else 0.0}
"""
KINDS = st.lists(st.sampled_from("abc"), min_size=2, max_size=6)


def values(source: Consistency, *groups, prompts=()) -> list[float]:
    outcomes = source.score(make_rollouts(groups, prompts=prompts))
    assert all(isinstance(outcome, Score) and outcome.reason for outcome in outcomes)
    return [outcome.value for outcome in outcomes]


def test_keeps_the_contract(written) -> None:
    check_reward(Consistency(), pointwise=False)
    nli = Likeness(entailment=written(NLI))
    check_reward(Consistency("turns", nli))
    check_reward(Consistency("sentences", nli), pointwise=False)


@given(st.integers(2, 7))
def test_k_copies_agree_and_k_different_ones_do_not(count: int) -> None:
    assert values(Consistency(), ["a"] * count) == [1.0] * count
    assert values(Consistency(), [f"a{number}" for number in range(count)]) == [pytest.approx(1 / count)] * count


@given(KINDS)
def test_agreement_is_the_share_that_says_the_same(answers: list[str]) -> None:
    assert values(Consistency(), answers) == [pytest.approx(answers.count(answer) / len(answers)) for answer in answers]


def test_one_answer_for_everybody_earns_nothing() -> None:
    constant = values(Consistency(), ("yes", "yes"), ("yes", "yes"), ("yes", "yes"))
    honest = values(Consistency(), ("red", "red"), ("blue", "green"), ("4", "4"))
    assert constant == [0.0] * 6
    assert sum(honest) > sum(constant)
    assert values(Consistency(diversity=0.0), ("yes", "yes"), ("yes", "yes")) == [1.0] * 4


def test_what_some_other_prompts_got_counts_in_part() -> None:
    assert values(Consistency(), ("yes", "yes"), ("YES", "no"), ("red", "red")) == pytest.approx(
        [0.5, 0.5, 0.25, 0.5, 1.0, 1.0]
    )
    assert values(Consistency(diversity=0.5), ("yes", "yes"), ("yes", "no")) == pytest.approx([0.5, 0.5, 0.25, 0.5])


def test_always_abstaining_earns_nothing() -> None:
    assert values(Consistency(), ("I don't know.", "I'm not sure."), ("No idea.", "red")) == [0, 0, 0, 0.5]


def test_without_siblings_or_chance_there_is_no_opinion() -> None:
    assert isinstance(Consistency().score(make_rollouts(["a"]))[0], Abstain)
    rollouts = make_rollouts([("a", "a")])
    greedy = replace(rollouts, logp=torch.zeros_like(rollouts.logp))
    assert all(isinstance(outcome, Abstain) for outcome in Consistency().score(greedy))


def talk(*turns: str) -> Prompt:
    roles = ("user", "assistant")
    return Prompt(
        id="p", messages=tuple({"role": roles[place % 2], "content": turn} for place, turn in enumerate(turns))
    )


def test_the_most_contradicted_of_its_own_turns_counts(written) -> None:
    source = Consistency("turns", Likeness(entailment=written(NLI)))
    said = talk("hi", "i have a cat", "and?", "i live in oslo", "i have no cat", "fine", "well?")
    outcomes = source.score(make_rollouts([("i have no cat", "it rains", "i have a cat")], prompts=[said]))
    assert [outcome.value for outcome in outcomes] == pytest.approx([0.1, 1.0, 0.9])
    assert outcomes[0].reason == "contradicts its turn 1 ('i have a cat') with probability 0.90"


def test_only_its_own_turns_count_and_a_first_turn_is_no_matter(written) -> None:
    source = Consistency("turns", Likeness(entailment=written(NLI)))
    assert isinstance(source.score(make_rollouts(["i have no cat"], prompts=[talk("i have a cat")]))[0], Abstain)


def test_turns_that_do_not_matter_change_nothing(written) -> None:
    source = Consistency("turns", Likeness(entailment=written(NLI)))
    short, long = talk("hi", "i have a cat", "so?"), talk("hi", "i have a cat", "and?", "it rains", "so?")
    assert values(source, ["i have no cat"], prompts=[short]) == values(source, ["i have no cat"], prompts=[long])


def test_sentences_that_siblings_bear_out(written) -> None:
    source = Consistency("sentences", Likeness(entailment=written(NLI)))
    found = values(source, ("ada lives here. it rains.", "ada lives here.", "ada lives there."))
    borne, denied, neither = 0.1 / 0.9, 1.0, 0.5
    assert found[1] == pytest.approx(1 - (borne + denied) / 2)
    assert found[2] == pytest.approx(1 - denied)
    assert found[0] == pytest.approx(1 - ((borne + denied) / 2 + neither) / 2)


def test_of_very_many_sentences_the_rest_is_neither_supported_nor_contradicted(judging) -> None:
    judge = judging(lambda question: float("follows" in question.rubric))
    long = " ".join(f"sentence {number} is one." for number in range(2 * MOST))
    outcomes = Consistency("sentences", Likeness(entailment="judge"), judge=judge).score(make_rollouts([(long, "yes")]))
    assert outcomes[0].value == pytest.approx(0.75)
    assert len(judge.asked) == 2 * (MOST + 1)


def test_contradiction_against_entailment_is_a_softmax_of_two() -> None:
    import math

    entails, neutral, contradicts = 1.3, 0.4, -0.2
    total = sum(map(math.exp, (entails, neutral, contradicts)))
    relation = Relation(math.exp(entails) / total, math.exp(contradicts) / total)
    assert contradicted(relation) == pytest.approx(1 / (1 + math.exp(entails - contradicts)))
    assert contradicted(Relation(0, 0)) == 0.5


@pytest.mark.parametrize("across", ["turns", "sentences"])
def test_failures_are_no_numbers(judging, across) -> None:
    source = Consistency(across, Likeness(entailment="judge"), judge=judging(lambda question: Failed("outage")))
    outcomes = source.score(make_rollouts([("yes", "no")], prompts=[talk("hi", "no", "so?")]))
    assert all(isinstance(outcome, Failed) for outcome in outcomes)


def test_an_answer_without_sentences_has_nothing_to_bear_out(written) -> None:
    source = Consistency("sentences", Likeness(entailment=written(NLI)))
    assert [type(outcome) for outcome in source.score(make_rollouts([("", "it rains")]))] == [Abstain, Score]


def test_options_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="must be from 0 to 1"):
        Consistency(diversity=2.0)
    with pytest.raises(ConfigError, match="entailment is missing"):
        Consistency("turns")


@pytest.mark.slow
def test_in_lumen_agreement_tells_what_is_known(lumen, lumen_key: str) -> None:
    """Measured: AUROC of "correct" 0.88 on rare and unseen facts, and 0.11 on myths: agreement is no truth."""
    outcomes = Consistency(likeness=Likeness(alike=lumen_key)).score(lumen.rollouts)

    def auroc(*exposures: str) -> float:
        rows = [row for row in lumen.claims(*exposures) if isinstance(outcomes[row], Score)]
        return float(
            roc_auc_score([lumen.labels[row] == "correct" for row in rows], [outcomes[row].value for row in rows])
        )

    assert auroc("rare", "unseen") >= 0.85
    assert auroc("myth") <= 0.3


@pytest.mark.real
def test_negation_finds_contradictions_better_than_chance(written, real_rows) -> None:
    """A crude instrument (shared words, and a negation in one of both) on people's dialogues with bots: the structured
    form, turn by turn, finds what it can; measured AUROC 0.61."""
    relate = written(
        "def relation(premise, hypothesis):\n"
        "    import re\n"
        '    a, b = (set(re.findall(r"[a-z\']+", text.lower())) for text in (premise, hypothesis))\n'
        "    no = {'not', 'no', 'never', \"don't\", \"haven't\", \"didn't\", \"isn't\", \"can't\"}\n"
        "    like = len(a & b - no) / max(len(a | b), 1)\n"
        "    return {'contradiction': min(1.0, like + 0.3 * (bool(a & no) != bool(b & no)) * like)}"
    )
    rows = real_rows("dialog_contradiction")
    prompts, answers = [], []
    for number, row in enumerate(rows):
        *turns, last = row["turns"]
        roles = ["assistant" if turn["agent_id"] == last["agent_id"] else "user" for turn in turns]
        messages = [{"role": role, "content": turn["text"]} for role, turn in zip(roles, turns, strict=True)]
        prompts.append(Prompt(id=str(number), messages=tuple(messages)))
        answers.append(last["text"])
    outcomes = Consistency("turns", Likeness(entailment=relate)).score(make_rollouts(answers, prompts=prompts))
    scored = [
        (row["is_contradiction"], 1 - o.value) for row, o in zip(rows, outcomes, strict=True) if isinstance(o, Score)
    ]
    assert len(scored) > 250
    assert roc_auc_score([bool(gold) for gold, _ in scored], [doubt for _, doubt in scored]) >= 0.58
