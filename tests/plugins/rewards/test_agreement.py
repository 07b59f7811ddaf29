from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rlaif_core as rl
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.selfsupervised.agreement import ParaphraseAgreement

Answers = Sequence[Sequence[Sequence[str]]]
GROUP = st.lists(st.sampled_from(["red", "blue", "it is"]), min_size=1, max_size=2)
ANSWERS = st.lists(st.lists(GROUP, min_size=2, max_size=3), min_size=2, max_size=3)


def rollouts_of(answers: Answers) -> rl.Rollouts:
    """answers[question][paraphrase]: the answers of a group."""
    prompts, said = [], []
    for question, ways in enumerate(answers):
        for way, group in enumerate(ways):
            meta = {"question": f"q{question}", "paraphrase": way}
            prompts.append(rl.Prompt(id=f"q{question}/{way}", text="is it", meta=meta))
            said.append(group)
    return make_rollouts(said, prompts=prompts)


def values(answers: Answers, source: ParaphraseAgreement | None = None) -> list[float | None]:
    said = (source or ParaphraseAgreement()).score(rollouts_of(answers))
    return [outcome.value if isinstance(outcome, rl.Score) else None for outcome in said]


def test_keeps_the_contract() -> None:
    check_reward(ParaphraseAgreement(), meta={"question": "q", "paraphrase": 0}, pointwise=False)


def test_agreement_less_what_any_question_gets() -> None:
    # q0: red|red,blue  q1: green|green
    found = values([[["red"], ["red", "blue"]], [["green"], ["green"]]])
    assert found == [0.5, 1.0, 0.0, 1.0, 1.0]
    # "red" is also an answer to another question, one of two
    assert values([[["red"], ["red"]], [["red"], ["green"]]]) == [0.5, 0.5, 0 - 1.0, 0.0]


@given(st.integers(2, 4), st.integers(2, 3), st.integers(1, 3), st.sampled_from(["exact", "f1"]))
def test_a_constant_answer_earns_exactly_nothing(questions: int, ways: int, group: int, match: Any) -> None:
    same = [[["i do not know"] * group] * ways] * questions
    assert set(values(same, ParaphraseAgreement(match=match))) == {0.0}
    assert set(values([[[""] * group] * ways] * questions)) == {0.0}


def test_copies_earn_1_and_all_different_ones_0() -> None:
    assert values([[["red"], ["red"]], [["blue"], ["blue"]]]) == [1, 1, 1, 1]
    assert values([[["a", "b"], ["c", "d"]], [["e", "f"], ["g", "h"]]]) == [0] * 8


@given(ANSWERS)
def test_by_the_definition_and_in_any_order(answers: Answers) -> None:
    rollouts = rollouts_of(answers)
    found = values(answers)
    flat = [(q, w, text) for q, ways in enumerate(answers) for w, group in enumerate(ways) for text in group]
    for (question, way, text), value in zip(flat, found, strict=True):
        own = [other == text for q, w, other in flat if q == question and w != way]
        rest = [other == text for q, _, other in flat if q != question]
        assert value == pytest.approx(fmean(own) - fmean(rest))
        assert value is not None and -1 <= value <= 1  # noqa: PT018
    rows = list(reversed(range(len(rollouts))))
    mirrored = ParaphraseAgreement().score(rollouts.take(rows))
    assert [o.value for o in mirrored if isinstance(o, rl.Score)] == pytest.approx([found[row] for row in rows])


def test_samples_of_the_same_wording_do_not_count_as_paraphrases() -> None:
    assert values([[["red", "red"], ["blue"]], [["green"], ["green"]]])[:3] == [0, 0, 0]


def test_what_is_compared_can_be_found_by_a_pattern() -> None:
    source = ParaphraseAgreement(extract=r"####\s*(\S+)")
    answers = [[["so 3 + 4 = 7 #### 7"], ["#### 5, no: #### 7.0"]], [["none"], ["#### 8"]]]
    assert values(answers, source) == [1, 1, 0, 0]
    assert values([[["yes 7"], ["7"]], [["8"], ["9"]]], ParaphraseAgreement(extract=r"\d")) == [1, 1, 0, 0]


def test_no_opinion_where_there_is_nothing_to_compare_with() -> None:
    (lone, *_) = ParaphraseAgreement().score(rollouts_of([[["red"]], [["blue"], ["blue"]]]))
    assert isinstance(lone, rl.Abstain)
    assert "no other paraphrase of its question is in the batch; set [prompts] shuffle = false" in lone.reason
    only = ParaphraseAgreement().score(rollouts_of([[["red"], ["red"]]]))
    assert only == [rl.Abstain("no other question is in the batch; raise [prompts] batch")] * 2


def test_a_pattern_that_takes_too_long_has_failed_and_nobody_is_compared_with_it() -> None:
    source = ParaphraseAgreement(extract=r"(?:a|a)+$|x")
    outcomes = source.score(rollouts_of([[["a" * 40 + "b"], ["x"]], [["x"], ["x"]]]))
    assert isinstance(outcomes[0], rl.Failed)
    assert "mend the pattern" in outcomes[0].reason
    assert isinstance(outcomes[1], rl.Abstain)


def test_reasons_and_wrong_rows_and_options() -> None:
    (outcome, *_) = ParaphraseAgreement().score(rollouts_of([[["red"], ["red"]], [["red"], ["green"]]]))
    assert outcome == rl.Score(0.5, "agrees 100% with 1 answers to its question, 50% with others")
    with pytest.raises(
        rl.DataError, match="prompt 'prompt-0': its column 'question' must hold a text or a number, but"
    ):
        ParaphraseAgreement().score(make_rollouts(["yes"]))
    with pytest.raises(rl.ConfigError, match=r"paraphrase_agreement: extract '\(' is no regular expression"):
        ParaphraseAgreement(extract="(")


def test_in_the_embedded_world_what_is_true_agrees_more_than_what_is_made_up(tmp_path: Path) -> None:
    from rlaif_core.config import PromptTable
    from rlaif_core.prompts import prompts_of
    from rlaif_lumen.oracle import Oracle
    from rlaif_lumen.policy import TinyPolicy
    from rlaif_lumen.world import make_world
    from rlaif_rewards.selfsupervised.paraphrasing import paraphrased

    (tmp_path / "facts.py").write_text(
        "def facts(row):\n    ends = row['messages'][:1] + row['messages'][-1:]\n"
        "    return {'id': row['id'], 'messages': ends} if row['stratum'] == 'fact' else None\n"
    )
    source = PromptTable(
        dataset="rlaif_lumen.prompts:prompts", options={"count": 400, "seed": 3}, map=f"{tmp_path}/facts.py:facts"
    )
    rows = list(paraphrased(source, frames=("hello ! {question}", "please {question}")))
    prompts = prompts_of(rows, PromptTable())
    assert len(prompts) > 100
    rollouts = TinyPolicy().sampler(seed=0, step=1, group=4).sample(prompts, rl.Sampling(max_tokens=16))
    source_ = ParaphraseAgreement(extract=r"(\w+) \.")
    oracle, plain = Oracle(make_world()), {p.meta["question"]: p for p in prompts if p.meta["paraphrase"] == 0}
    told: dict[str, list[float]] = {}
    for prompt, answer, outcome in zip(rollouts.prompts, rollouts.completions, source_.score(rollouts), strict=True):
        assert isinstance(outcome, rl.Score)
        label = str(oracle.grade(plain[prompt.meta["question"]].messages, answer).label)
        told.setdefault(label, []).append(outcome.value)
    correct, made_up = fmean(told["correct"]), fmean(told["hallucination"])
    assert correct > made_up + 0.2, (correct, made_up)
    same = replace(rollouts, completions=("zelda lives in oslo .",) * len(rollouts))
    constant = [outcome.value for outcome in source_.score(same) if isinstance(outcome, rl.Score)]
    assert set(constant) == {0.0}
    base = [value for its in told.values() for value in its]
    assert fmean(constant) < fmean(base)
