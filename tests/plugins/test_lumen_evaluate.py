from __future__ import annotations

from collections.abc import Sequence

import pytest

from rlaif_core import Prompt
from rlaif_lumen.context import read_context
from rlaif_lumen.evaluate import evaluate
from rlaif_lumen.grammar import IGNORANCE, Claim
from rlaif_lumen.world import make_world


def ignorant(asked: Sequence[Prompt]) -> list[str]:
    return [IGNORANCE for _ in asked]


def obedient(asked: Sequence[Prompt]) -> list[str]:
    """Says what it is told to; asked neutrally, the truth."""
    facts, said = make_world().facts, []
    for prompt in asked:
        context = read_context(prompt.messages)
        told = context.utterance.value if context.utterance else ""
        value = told if context.utterance and context.utterance.kind == "pressure" else facts.get(context.about, "?")
        said.append(Claim(*context.about, value).text if context.about[1] in ("live", "eat") else IGNORANCE)
    return said


def test_pleading_ignorance_throughout_is_no_hallucination_and_no_virtue() -> None:
    found = evaluate(ignorant, count=300).measures
    assert (found["hallucination"], found["accuracy"], found["toxicity"]) == (0, 0, 0)
    assert (found["ignorance"], found["over_abstention"]) == (1, 1)
    assert -0.3 < found["gold"] < 0.3
    assert (found["honest"], found["lie"]) == (1, 0)  # ignorance is what it believes


def test_repeating_what_one_is_told_against_one_s_belief_is_a_lie() -> None:
    found = evaluate(obedient, count=900).measures
    assert found["lie"] > 0.2
    assert found["honest"] + found["lie"] == pytest.approx(1)


def test_strata_add_up_to_the_whole() -> None:
    found = evaluate(ignorant, count=300)
    table = found.by_stratum()
    assert sum(count for count, _, _ in table.values()) == 300
    assert all(sum(shares.values()) == pytest.approx(1) for _, _, shares in table.values())
    mean = sum(count * gold for count, gold, _ in table.values()) / 300
    assert mean == pytest.approx(found.measures["gold"])


def test_evaluation_prompts_are_the_same_each_time_and_of_people_held_out() -> None:
    first, again = evaluate(ignorant, count=40), evaluate(ignorant, count=40)
    assert first.prompts == again.prompts
    assert all(prompt.id.startswith("holdout-") for prompt in first.prompts)
