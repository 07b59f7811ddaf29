"""Which answers a report shows, and that what they hide is spelt out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow.parquet import write_table

from rlaif_core.record import read_rollouts
from rlaif_report.answers import Answers, distinct, evenly, ledger, visible


def row(step: int, prompt: str, reward: float | None, completion: str = "", **said: Any) -> dict[str, Any]:
    kinds = said or {"judge": {"kind": "score", "value": reward, "reason": f"worth {reward}"}}
    return {
        "step": step, "prompt_id": prompt, "prompt": f"Question {prompt}", "sample": 0, "tokens": 3, "logp": -1.0,
        "completion": completion or f"{prompt} at {step} for {reward}", "finish": "stop", "reward": reward,
        "advantage": 0.0, "counted": reward is not None, "outcomes": json.dumps(kinds),
    }  # fmt: skip


def answers_of(folder: Path, rows: Iterable[dict[str, Any]]) -> Answers:
    """A run folder that holds `rows`, a file for each step."""
    schema = read_rollouts(folder).schema
    (folder / "rollouts").mkdir()
    by_step: dict[int, list[dict[str, Any]]] = {}
    for its in rows:
        by_step.setdefault(its["step"], []).append(its)
    for step, its in by_step.items():
        write_table(pa.Table.from_pylist(its, schema=schema), folder / "rollouts" / f"step-{step:06d}.parquet")
    return Answers(folder)


def test_the_same_prompts_are_compared_from_most_to_least_gained(tmp_path: Path) -> None:
    rows = [row(1, "a", 0.0), row(1, "a", 0.2), row(1, "a", 0.4), row(1, "b", 0.9), row(1, "c", 0.5)]
    rows += [row(5, "a", 0.5), row(9, "b", 0.1), row(9, "a", 0.6), row(9, "a", 1.0), row(9, "a", 0.9), row(9, "d", 1.0)]
    pairs = answers_of(tmp_path, rows).pairs()
    assert [(pair.before.completion, pair.after.completion, pair.change) for pair in pairs] == [
        ("a at 1 for 0.2", "a at 9 for 0.9", "+0.633"),
        ("b at 1 for 0.9", "b at 9 for 0.1", "−0.800"),
    ]
    assert all(pair.same for pair in pairs)
    assert str(pairs[0].after.said[0]) == "0.900"
    assert pairs[0].after.verdict == "reward 0.900"


def test_many_prompts_are_thinned_to_a_spread(tmp_path: Path) -> None:
    rows = [row(step, f"p{n}", n / 100 * (step == 2)) for step in (1, 2) for n in range(51)]
    pairs = answers_of(tmp_path, rows).pairs(6)
    assert [pair.change for pair in pairs] == ["+0.500", "+0.400", "+0.300", "+0.200", "+0.100", "+0.000"]


def test_without_a_common_prompt_the_first_step_stands_against_the_last(tmp_path: Path) -> None:
    rows = [row(1, "a", 0.1), row(1, "b", 0.3), row(1, "c", 0.2), row(1, "d", None)]
    rows += [row(2, "e", 0.9), row(2, "f", 0.7), row(2, "g", 0.8)]
    pairs = answers_of(tmp_path, rows).pairs()
    assert [(pair.before.reward, pair.after.reward) for pair in pairs] == [(0.3, 0.9), (0.1, 0.8), (None, 0.7)]
    assert not any(pair.same or pair.change for pair in pairs)


def test_a_single_step_has_no_before(tmp_path: Path) -> None:
    answers = answers_of(tmp_path, [row(3, "a", 0.1), row(3, "a", 0.7)])
    assert answers.pairs() == []
    best, worst = answers.extremes()
    assert ([a.reward for a in best], [a.reward for a in worst]) == ([0.7], [0.1])


def test_answers_without_a_reward_are_shown_but_not_ranked(tmp_path: Path) -> None:
    failed = {
        "judge": {"kind": "failed", "value": None, "reason": "no answer"},
        "tone": {"kind": "abstain", "reason": ""},
    }
    answers = answers_of(tmp_path, [row(step, "a", None, **failed) for step in (1, 2, 3)])
    [pair] = answers.pairs()
    assert (pair.change, pair.after.verdict) == ("", "no reward")
    assert [str(said) for said in pair.after.said] == ["failed", "abstained"]
    assert answers.extremes() == ([], [])


def test_best_and_worst_come_from_the_end_and_none_twice(tmp_path: Path) -> None:
    rows = [row(1, "a", 5.0), row(1, "a", -5.0)]
    rows += [
        row(20, "a", reward, completion) for reward, completion in [(0.9, "x"), (0.8, "x"), (0.7, "y"), (0.1, "z")]
    ]
    best, worst = answers_of(tmp_path, rows).extremes()
    assert [answer.completion for answer in best] == ["x"]
    assert [answer.completion for answer in worst] == ["z", "y"]


def test_the_sample_is_even_over_steps_and_says_all_it_may(tmp_path: Path) -> None:
    answers = answers_of(tmp_path, (row(step, f"p{n}", n) for step in range(1, 41) for n in range(10)))
    places = answers.sample(100)
    assert [answers.steps[place] for place in places] == [step for step in range(1, 41) for _ in range(2)]
    assert {answers.prompts[place] for place in places} == {"p0"} | {"p9"}
    assert [answers.steps[place] for place in answers.sample(3)] == [1, 21, 40]
    assert answers.sample(400) == list(range(400))


def test_the_ledger_keeps_to_its_size_whatever_the_texts(tmp_path: Path) -> None:
    rows = (row(step, f"p{n}", n, "<" * 50_000) for step in range(1, 31) for n in range(10))
    answers = answers_of(tmp_path, rows)
    full = ledger(answers)
    few = ledger(answers, 500_000)
    assert len(full["answers"]) < 300
    assert len(few["answers"]) < 25
    assert few["answers"][0][0] == 1
    assert few["answers"][-1][0] == 30
    page = json.dumps(few).replace("<", "\\u003c")
    assert len(page) < 500_000


def test_the_ledger_holds_every_outcome_with_its_reason(tmp_path: Path) -> None:
    said = {
        "judge": {"kind": "score", "value": 0.5, "reason": "fair"},
        "tone": {"kind": "failed", "value": None, "reason": "down", "weight": 0.5, "channel": "cost:tone"},
    }
    told = ledger(answers_of(tmp_path, [row(1, "a", 0.5, "yes", **said), row(1, "a", 0.5, "no", **said)]))
    its = [[0, "score", 0.5, "fair"], [1, "failed", None, "down"]]
    assert told == {
        "answers": [[1, 0, "yes", 0.5, "stop", its], [1, 0, "no", 0.5, "stop", its]],
        "prompts": ["Question a"],
        "sources": ["judge", "tone"],
    }


def test_numbers_that_are_none_never_reach_the_page(tmp_path: Path) -> None:
    said = {"judge": {"kind": "score", "value": float("nan"), "reason": None}}
    answers = answers_of(tmp_path, [row(1, "a", float("inf"), **said)])
    json.dumps(ledger(answers), allow_nan=False)
    assert answers.fetch([0])[0].verdict == "no reward"


def test_how_a_source_counts_is_told(tmp_path: Path) -> None:
    said = {
        "a": {"kind": "score", "value": 1.0, "weight": 1.0, "channel": "reward"},
        "b": {"kind": "score", "value": 1.0, "weight": 0.5, "channel": "reward"},
        "c": {"kind": "score", "value": 1.0, "weight": 1.0, "channel": "cost:tone"},
    }
    [answer] = answers_of(tmp_path, [row(1, "p", 1.0, **said)]).fetch([0])
    assert [its.counts for its in answer.said] == ["", " × 0.5", " (cost)"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pay \u202eevil\u202c", "pay ⟦U+202E⟧evil⟦U+202C⟧"),
        ("zero\u200bwidth\ufeff", "zero⟦U+200B⟧width⟦U+FEFF⟧"),
        ("soft\u00adhyphen \x1b[31m", "soft⟦U+00AD⟧hyphen ⟦U+001B⟧[31m"),
        ("tag\U000e0041", "tag⟦U+E0041⟧"),
        ("half \ud800", "half ⟦U+D800⟧"),
        ("a\u200db", "a⟦U+200D⟧b"),
        ("a\r\nb\tc\rd", "a\nb\tc⟦U+000D⟧d"),
        ("👩\u200d👧 نمی\u200cدانم क्\u200dष", "👩\u200d👧 نمی\u200cدانم क्\u200dष"),
        ("naïve \u0301 日本 ❤\ufe0f", "naïve \u0301 日本 ❤\ufe0f"),
    ],
)
def test_characters_that_hide_are_spelt_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert visible("x" * 12_000, 10) == "xxxxxxxxxx … (11,990 more characters)"


def test_evenly_keeps_the_ends() -> None:
    assert evenly(range(101), 5) == [0, 25, 50, 75, 100]
    assert evenly([1, 2], 5) == [1, 2]
    assert evenly([1, 2, 3], 1) == [1]
    assert evenly([1, 2, 3], 0) == []


def test_distinct_keeps_the_first(tmp_path: Path) -> None:
    rows = [row(1, "a", 0.1, "x"), row(1, "b", 0.2, "y"), row(1, "c", 0.3, "x")]
    shown = distinct(answers_of(tmp_path, rows).fetch([0, 1, 2]))
    assert [(answer.completion, answer.reward) for answer in shown] == [("x", 0.1), ("y", 0.2)]
