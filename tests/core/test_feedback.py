from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import rlaif_core as rl
from rlaif_core.feedback import outcomes_of

NO = rl.Abstain("no opinion")
OUT = rl.Failed("outage")
PAIRS = torch.tensor([0, 0, 1, 1])


def feedback(**said: list[Any]) -> rl.Feedback:
    """Feedback of these sources; numbers stand for scores."""
    return rl.Feedback(outcomes={name: outcomes_of(its, len(its)) for name, its in said.items()})


def test_a_score_is_a_finite_number() -> None:
    assert rl.Score(3, "three").value == 3.0
    for value in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(rl.FeedbackError, match=r"a score is .*; return Abstain\(reason\) or Failed\(reason\) when"):
            rl.Score(value)
    with pytest.raises(FrozenInstanceError):
        rl.Score(1.0).value = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: rl.Feedback(outcomes={}), r"Feedback has no source; configure at least one \[\[rewards\]\] table"),
        (lambda: feedback(a=[1, 2], b=[1]), r"sources disagree on the number of answers \(a: 2, b: 1\)"),
        (
            lambda: rl.Feedback(outcomes={"a": (NO,)}, weights={"b": 1.0}),
            r"Feedback.weights names \['b'\], which gave no outcomes",
        ),
        (lambda: rl.Feedback(outcomes={"a": (NO,)}, channels={"b": "reward"}), r"Feedback.channels names \['b'\]"),
        (
            lambda: rl.Feedback(outcomes={"a": (NO,)}, token_scores={"b": torch.ones(1, 1)}),
            "token_scores names",
        ),
        (lambda: rl.Feedback(outcomes={"a": (NO,)}, contributed=frozenset("b")), "Feedback.contributed names"),
    ],
)
def test_feedback_that_does_not_hold_together_is_refused(build: Any, complaint: str) -> None:
    with pytest.raises(rl.FeedbackError, match=complaint):
        build()


def test_weights_and_channels_have_defaults_and_are_frozen() -> None:
    said = rl.Feedback(outcomes={"a": [NO], "b": [NO]}, weights={"a": 2}, channels={"b": "cost:harm"})  # type: ignore[dict-item]
    assert dict(said.weights) == {"a": 2.0, "b": 1.0}
    assert dict(said.channels) == {"a": "reward", "b": "cost:harm"}
    assert said.sources() == ("a",)
    assert said.sources("cost:harm") == ("b",)
    for mapping in (said.outcomes, said.weights, said.channels, said.token_scores):
        with pytest.raises(TypeError):
            mapping["c"] = ()  # type: ignore[index]


def test_what_was_handed_in_cannot_change_it_later() -> None:
    tokens = {"a": torch.zeros(1, 2)}
    said = rl.Feedback(outcomes={"a": (NO,)}, token_scores=tokens)
    tokens["b"] = torch.ones(1, 2)
    assert list(said.token_scores) == ["a"]


def test_fractions_are_of_all_outcomes() -> None:
    said = feedback(a=[1, NO, OUT, 2], b=[NO, NO, 1, 1])
    assert said.fraction(rl.Abstain) == 3 / 8
    assert said.fraction(rl.Failed) == 1 / 8


def test_totals_are_weighted_sums_within_the_channel() -> None:
    outcomes = {"a": [1, 2], "b": [10, 20], "harm": [5, 5]}
    said = rl.Feedback(
        outcomes={name: outcomes_of(its, 2) for name, its in outcomes.items()},
        weights={"a": 2.0, "b": 0.5},
        channels={"harm": "cost:harm"},
    )
    values, counted = said.totals(torch.tensor([0, 1]))
    assert (values.tolist(), counted.tolist()) == ([7, 14], [True, True])
    assert values.dtype == torch.float32
    assert said.totals(torch.tensor([0, 1]), "cost:harm")[0].tolist() == [5, 5]


@pytest.mark.parametrize("missing", [NO, OUT, None])
def test_a_source_silent_on_one_answer_is_left_out_for_its_whole_group(missing: Any) -> None:
    values, counted = feedback(a=[1, 2, 3, 4], b=[10, missing, 30, 40]).totals(PAIRS)
    assert values.tolist() == [1, 2, 33, 44]
    assert counted.all()


@pytest.mark.parametrize("missing", [NO, OUT])
def test_an_answer_that_nobody_scored_is_left_out_and_costs_its_siblings_nothing(missing: Any) -> None:
    values, counted = feedback(a=[1, missing, 3, 4]).totals(PAIRS)
    assert values.tolist() == [1, 0, 3, 4]
    assert counted.tolist() == [True, False, True, True]


def test_a_group_in_which_no_source_is_left_is_left_out() -> None:
    values, counted = feedback(a=[1, NO, 3, 4], b=[NO, 2, 3, 4]).totals(PAIRS)
    assert counted.tolist() == [False, False, True, True]
    assert values.tolist() == [0, 0, 6, 8]


def test_groups_need_not_be_neighbours() -> None:
    values, counted = feedback(a=[1, 2, 3, 4], b=[NO, 20, 30, 40]).totals(torch.tensor([7, 3, 7, 3]))
    assert values.tolist() == [1, 22, 3, 44]
    assert counted.all()


def test_a_channel_without_sources_counts_nobody() -> None:
    values, counted = feedback(a=[1, 2]).totals(torch.tensor([0, 0]), "cost:nothing")
    assert (values.tolist(), counted.tolist()) == ([0, 0], [False, False])


def test_what_the_optimiser_contributes_adds_to_an_opinion_and_is_none() -> None:
    outcomes = {"judge": outcomes_of([1, NO, 3, 4], 4), "kl": outcomes_of([0.5] * 4, 4)}
    said = rl.Feedback(outcomes=outcomes, contributed=frozenset({"kl"}))
    values, counted = said.totals(PAIRS)
    assert counted.tolist() == [True, False, True, True]
    assert values.tolist() == [1.5, 0, 3.5, 4.5]
    assert said.totals(PAIRS, contributed=False)[0].tolist() == [1, 0, 3, 4]
    assert said.sources(contributed=False) == ("judge",)


def test_exact_totals_keep_what_float32_would_round_away() -> None:
    said = rl.Feedback(
        outcomes={"judge": outcomes_of([1e6] * 4, 4), "kl": outcomes_of([-0.3, -0.1, -0.5, NO], 4)},
        weights={"kl": 0.01},
        contributed=frozenset({"kl"}),
    )
    group = torch.tensor([0, 0, 0, 1])
    exact = [1e6 - 0.003, 1e6 - 0.001, 1e6 - 0.005, 1e6]
    for values in (said.totals(group, exact=True)[0], said.by_channel(group, exact=True)[0]["reward"]):
        assert values.dtype == torch.float64
        assert values.tolist() == pytest.approx(exact, abs=1e-9)
    assert said.totals(group)[0].dtype == said.by_channel(group)[0]["reward"].dtype == torch.float32


def test_an_answer_counts_only_if_every_channel_can_judge_it() -> None:
    outcomes = {"a": outcomes_of([1, 2, 3, NO], 4), "harm": outcomes_of([NO, 6, 7, 8], 4)}
    totals, counted = rl.Feedback(outcomes=outcomes, channels={"harm": "cost:harm"}).by_channel(PAIRS)
    assert counted.tolist() == [False, True, True, False]
    assert totals["reward"].tolist() == [0, 2, 3, 0]
    assert totals["cost:harm"].tolist() == [0, 6, 7, 0]


def test_some_of_the_feedback_can_be_taken() -> None:
    said = rl.Feedback(
        outcomes={"a": outcomes_of([1, 2, 3], 3)},
        token_scores={"a": torch.arange(6.0).reshape(3, 2)},
        weights={"a": 2.0},
        channels={"a": "cost:harm"},
        contributed=frozenset({"a"}),
    )
    some = said.take([2, 0])
    assert some.outcomes["a"] == (rl.Score(3), rl.Score(1))
    assert some.token_scores["a"].tolist() == [[4, 5], [0, 1]]
    assert (some.weights["a"], some.channels["a"], some.contributed) == (2.0, "cost:harm", {"a"})


OUTCOMES = st.one_of(st.floats(-9, 9).map(rl.Score), st.just(NO), st.just(OUT))


@given(data=st.data(), rows=st.integers(1, 8), sources=st.integers(1, 3))
def test_the_rules_hold_for_any_feedback(data: st.DataObject, rows: int, sources: int) -> None:
    group = torch.tensor(data.draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows)))
    outcomes = {
        str(number): tuple(data.draw(st.lists(OUTCOMES, min_size=rows, max_size=rows))) for number in range(sources)
    }
    values, counted = rl.Feedback(outcomes=outcomes).totals(group)
    for row in range(rows):
        answered = [r for r in range(rows) if group[r] == group[row] and any_score(outcomes, r)]
        kept = [name for name, said in outcomes.items() if all(isinstance(said[r], rl.Score) for r in answered)]
        expected = sum(outcomes[name][row].value for name in kept) if row in answered else 0.0  # type: ignore[union-attr]
        assert bool(counted[row]) == (row in answered and bool(kept))
        assert float(values[row]) == pytest.approx(expected if counted[row] else 0.0, abs=1e-4)


def any_score(outcomes: dict[str, tuple[rl.Outcome, ...]], row: int) -> bool:
    return any(isinstance(said[row], rl.Score) for said in outcomes.values())


@pytest.mark.parametrize(
    "said",
    [
        [1, 2.0],
        (rl.Score(1), rl.Score(2)),
        torch.tensor([1, 2]),
        np.array([1.0, 2.0], dtype=np.float32),
        [torch.tensor(1.0), np.float32(2)],
        [True, 2],
    ],
)
def test_whatever_holds_numbers_becomes_scores(said: Any) -> None:
    assert outcomes_of(said, 2) == (rl.Score(1.0), rl.Score(2.0))


def test_none_is_an_abstention_and_outcomes_stay_what_they_are() -> None:
    assert outcomes_of([None, OUT], 2) == (rl.Abstain("the source returned None"), OUT)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (None, "returned NoneType, but must return 2 outcomes or numbers, one an answer"),
        ("ab", "returned str, but must return 2 outcomes"),
        ({"a": 1, "b": 2}, "returned dict"),
        (1.0, "returned one float, but must return 2 outcomes"),
        ((x for x in (1, 2)), "returned one generator"),
        (torch.tensor(1.0), "returned one Tensor"),
        ([1], "returned 1 outcomes for 2 answers"),
        (torch.zeros(3), "returned 3 outcomes for 2 answers"),
        (torch.zeros(2, 2), "answer 0 got a list; return Score, Abstain, Failed or a number"),
        ([1, "good"], "answer 1 got a str"),
        ([1, float("nan")], r"answer 1 scored nan; return Abstain\(reason\) or Failed\(reason\) instead"),
        (torch.tensor([1, torch.inf]), "answer 1 scored inf"),
    ],
)
def test_what_is_no_outcome_is_refused_with_the_reason(said: Any, complaint: str) -> None:
    with pytest.raises(rl.FeedbackError, match=complaint):
        outcomes_of(said, 2)


def test_a_score_fits_into_float32() -> None:
    with pytest.raises(rl.FeedbackError, match="a score is 1e\\+39, more than float32 can hold; scale it down"):
        rl.Score(1e39)


def test_which_scores_count() -> None:
    said = rl.Feedback(
        outcomes={name: outcomes_of(its, 4) for name, its in {"a": [1, None, 3, 4], "b": [5, 6, OUT, OUT]}.items()}
    )
    heard, counted = said.heard(PAIRS)
    assert {name: its.tolist() for name, its in heard.items()} == {
        "a": [False, False, True, True],  # of the first pair it scored only one
        "b": [True, True, False, False],
    }
    assert counted.tolist() == [True] * 4
    assert said.totals(PAIRS)[0].tolist() == [5, 6, 3, 4]


def test_shares_leave_out_what_the_optimiser_contributes() -> None:
    said = rl.Feedback(
        outcomes={"a": (OUT, rl.Score(1)), "kl": (rl.Score(0), rl.Score(0))}, contributed=frozenset({"kl"})
    )
    assert said.shares(rl.Failed) == [("a", 0.5)]
    assert said.fraction(rl.Failed) == 0.5


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: rl.Failed(ValueError("x")), "the reason of a Failed is a ValueError, but must be a text"),
        (lambda: rl.Abstain(None), "the reason of a Abstain is a NoneType"),
        (lambda: rl.Score(1, reason=3), "the reason of a Score is a int"),
        (lambda: rl.Score(1, cost=None), "a cost is a NoneType, but must be a number"),
        (lambda: rl.Score(1, "r", "0.1"), "a cost is a str"),
        (lambda: rl.Score("0.5"), "a score is a str"),
        (lambda: rl.Score(None), "a score is a NoneType"),
        (lambda: rl.Score(10**400), "a score is more than float32 can hold"),
        (lambda: outcomes_of([10**400], 1), "a score is more than float32 can hold"),
    ],
)
def test_an_outcome_holds_what_can_be_written_down(make: Any, complaint: str) -> None:
    with pytest.raises(rl.FeedbackError, match=complaint):
        make()


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    said = rl.Score(np.float32(0.5), cost=torch.tensor(2))
    assert (said.value, said.cost) == (0.5, 2.0)
    assert type(said.cost) is float


def test_exact_totals_are_rounded_on_the_scale_of_their_own_group():
    group = torch.tensor([0, 0, 1, 1, 2, 2, 3])
    said = {"a": [0.1, 0.3, 1e20, 1.0, 1e-300, 2e-300, 0.0], "b": [0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]}
    outcomes = {name: tuple(map(rl.Score, values)) for name, values in said.items()}
    values, _ = rl.Feedback(outcomes=outcomes).totals(group, exact=True)
    assert values.tolist() == [0.3, 0.3, 1e20, 0.0, 1e-300, 2e-300, 0.0]


@pytest.mark.parametrize("weight", [1e290, -1e290, float("nan")])
def test_what_is_no_number_stays_none_when_it_is_rounded(weight):
    feedback = rl.Feedback(outcomes={"a": (rl.Score(1e20), rl.Score(0.1))}, weights={"a": weight})
    assert not feedback.totals(torch.tensor([0, 1]), exact=True)[0][0].isfinite()


@pytest.mark.parametrize(
    ("answers", "form", "complaint"),
    [
        (("a",), "compare", "compares 1 answers, but must two; ask in pairs, or rank"),
        (("a", "b", "c"), "compare", "compares 3 answers"),
        (("a", "b"), "vote", "form is 'vote', but must be one of score, compare, rank"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(answers: tuple[str, ...], form: Any, complaint: str) -> None:
    with pytest.raises(rl.FeedbackError, match=complaint):
        rl.Question(prompt=rl.Prompt(id="p", text="p"), answers=answers, form=form)
