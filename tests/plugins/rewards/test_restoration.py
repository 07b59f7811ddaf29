from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rlaif_core as rl
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.selfsupervised.restoration import Restoration


def outcomes(source: Restoration, span: Any, *answers: str) -> Sequence[rl.Outcome]:
    return source.score(make_rollouts([answers], meta={"span": span}))


def values(source: Restoration, span: Any, *answers: str) -> list[float]:
    return [outcome.value for outcome in outcomes(source, span, *answers) if isinstance(outcome, rl.Score)]


def test_keeps_the_contract() -> None:
    for match in ("f1", "exact", "contains"):
        check_reward(Restoration(match=match), meta={"span": "yes"})  # type: ignore[arg-type]


def test_how_well_the_span_is_restored() -> None:
    answers = ("Ada Lovelace.", "ada", "it was Ada Lovelace", "Lovelace Ada", "Bob", "")
    assert values(Restoration(), "Ada Lovelace", *answers) == [1, 2 / 3, 2 * 2 / (2 + 4), 1, 0, 0]
    assert values(Restoration(match="exact"), "Ada Lovelace", *answers) == [1, 0, 0, 0, 0, 0]
    assert values(Restoration(match="contains"), "Ada Lovelace", *answers) == [1, 0, 1, 0, 0, 0]
    assert values(Restoration(match="contains"), "art", "a cart", "art") == [0, 1]
    assert values(Restoration(match="exact"), "1,000.50", "1000.5", "1000") == [1, 0]


def test_a_list_of_guesses_earns_little() -> None:
    guesses = " ".join(str(number) for number in range(1900, 2000))
    (value,) = values(Restoration(), "1990", guesses)
    assert value == pytest.approx(2 / 101)


def test_reasons() -> None:
    said = [outcome.reason for outcome in outcomes(Restoration(), "Ada Lovelace", "Ada Lovelace", "Ada", "Bob")]
    assert said == ["restores 'Ada Lovelace'", "restores part of 'Ada Lovelace'", "does not restore 'Ada Lovelace'"]
    assert outcomes(Restoration(), "%", "5") == [rl.Abstain("what was left out holds no words")]


@pytest.mark.parametrize(("span", "given_"), [(None, "none"), (3, "a int"), (["x"], "a list")])
def test_a_row_without_the_column_is_named(span: Any, given_: str) -> None:
    with pytest.raises(
        rl.DataError, match=rf"prompt 'prompt-0': its column 'span' must hold .* but there is {given_};"
    ):
        outcomes(Restoration(), span, "yes")


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_stays_in_range(span: str, answer: str) -> None:
    for outcome in outcomes(Restoration(), span, answer):
        assert isinstance(outcome, rl.Abstain) or 0 <= outcome.value <= 1  # type: ignore[union-attr]


def test_in_the_embedded_world_it_tells_what_the_oracle_tells(tmp_path: Path) -> None:
    from rlaif_core.config import PromptTable
    from rlaif_core.prompts import prompts_of
    from rlaif_lumen.oracle import Oracle
    from rlaif_lumen.policy import TinyPolicy
    from rlaif_lumen.world import make_world
    from rlaif_rewards.selfsupervised.masking import masked

    world = make_world()
    oracle = Oracle(world)
    (tmp_path / "texts.py").write_text(
        "from rlaif_lumen.grammar import Claim, Utterance\n"
        "from rlaif_lumen.world import make_world\n"
        "def claims(count):\n"
        "    for number, (key, value) in enumerate(sorted(make_world().facts.items())[:count]):\n"
        "        if key[1] not in ('boss', 'friend'):\n"
        "            asked = Utterance('fact', name=key[0], attribute=key[1]).text\n"
        "            yield {'text': Claim(*key, value).text, 'question': asked}\n"
    )
    source = PromptTable(dataset=f"{tmp_path}/texts.py:claims", options={"count": 200})
    rows = masked(source, pattern=r"(\w+) \.$", question="question", frame="{question}")
    prompts = prompts_of(rows, PromptTable())
    assert len(prompts) > 100
    rollouts = TinyPolicy().sampler(seed=1, step=1, group=2).sample(prompts, rl.Sampling(max_tokens=16))
    told = {True: [], False: []}  # type: dict[bool, list[float]]
    for prompt, answer, outcome in zip(
        rollouts.prompts, rollouts.completions, Restoration(match="contains").score(rollouts), strict=True
    ):
        assert isinstance(outcome, rl.Score)
        grade = oracle.grade([{"role": "user", "content": prompt.text}], answer)
        if str(grade.label) in ("correct", "hallucination"):
            told[str(grade.label) == "correct"].append(outcome.value)
    assert min(len(its) for its in told.values()) > 20
    assert fmean(told[True]) > 0.95
    assert fmean(told[False]) < 0.05
