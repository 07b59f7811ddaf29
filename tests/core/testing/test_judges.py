from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import rlaif_core as rl
from rlaif_core.testing import check_judge


def judge(ask: Callable[[Sequence[rl.Question]], Any]) -> Any:
    """A judge with that `ask`."""
    return type("Judge", (), {"ask": staticmethod(ask)})()


def verdicts(questions: Sequence[rl.Question], value: Callable[[rl.Question, str], Any]) -> list[rl.Verdict]:
    return [rl.Verdict(outcomes=tuple(value(q, answer) for answer in q.answers)) for q in questions]


def by_length(question: rl.Question, answer: str) -> rl.Score:
    return rl.Score(float(len(answer)))


def by_place(question: rl.Question, factor: float) -> tuple[rl.Score, ...]:
    return tuple(rl.Score(factor * place) for place, _ in enumerate(question.answers))


def test_a_good_judge_passes() -> None:
    check_judge(judge(lambda questions: verdicts(questions, by_length)))


BAD_JUDGES = {
    "too few": (lambda qs: verdicts(qs, by_length)[1:], r"Judge\.ask returned 5 verdicts for 6 questions"),
    "generator": (lambda qs: iter(verdicts(qs, by_length)), r"returned a list_iterator for 0 questions; return a list"),
    "nothing": (lambda qs: None, r"Judge\.ask returned a NoneType for 0 questions; return a list, a verdict each"),
    "nothing for some": (lambda qs: None if qs else [], r"Judge\.ask returned a NoneType for 6 questions"),
    "bare scores": (lambda qs: [1.0] * len(qs), r"returned a float; return rl.Verdict"),
    "too few answers": (
        lambda qs: [rl.Verdict(outcomes=(rl.Score(1),))] * len(qs),
        "a verdict returned 1 outcomes for 2",
    ),
    "text": (lambda qs: verdicts(qs, lambda q, a: a), "a verdict answer 0 got a str"),
    "chance": (lambda qs: verdicts(qs, lambda q, a: rl.Score(random.random())), "asked the same thing twice"),
    "outage": (lambda qs: verdicts(qs, lambda q, a: rl.Failed("no network")), "failed on every answer: no network"),
    "company": (lambda qs: verdicts(qs, lambda q, a: rl.Score(len(qs))), "differently when it is asked alone"),
    "partial": (
        lambda qs: [rl.Verdict(outcomes=tuple(rl.Score(-place) for place, _ in enumerate(q.answers))) for q in qs],
        "finds one answer better by 1 where it is shown first and by -1 where it is shown second",
    ),
    "measured": (
        lambda qs: [rl.Verdict(outcomes=by_place(q, 0), measured={"calls": float("nan")}) for q in qs],
        "measured 'calls' as nan; leave it out",
    ),
    "hostile": (lambda qs: verdicts(qs, lambda q, a: rl.Score(float(a) if a == "nan" else 0.0)), "a score is nan"),
    "copies compared": (
        lambda qs: [rl.Verdict(outcomes=by_place(q, len({*q.answers}) == 1 and q.form == "compare")) for q in qs],
        r"tells copies of one answer apart \(form 'compare'\)",
    ),
    "copies ranked": (
        lambda qs: [rl.Verdict(outcomes=by_place(q, q.form == "rank")) for q in qs],
        r"tells copies of one answer apart \(form 'rank'\)",
    ),
    "copies scored": (
        lambda qs: [rl.Verdict(outcomes=by_place(q, q.form == "score")) for q in qs],
        r"tells copies of one answer apart \(form 'score'\)",
    ),
    "asked nothing": (lambda qs: verdicts(qs, by_length) or [1], "returned 1 verdicts for 0 questions"),
}


@pytest.mark.parametrize("defect", BAD_JUDGES)
def test_each_defect_of_a_judge_is_told_by_its_own_sentence(defect: str) -> None:
    ask, sentence = BAD_JUDGES[defect]
    with pytest.raises((rl.PluginError, rl.FeedbackError), match=sentence):
        check_judge(judge(ask))


def test_what_a_judge_raises_says_whose_it_is() -> None:
    def ask(questions: Sequence[rl.Question]) -> list[rl.Verdict]:
        raise TimeoutError("no network")

    with pytest.raises(TimeoutError) as caught:
        check_judge(judge(ask))
    assert "Judge.ask on 0 questions" in caught.value.__notes__[0]


def test_a_partial_judge_passes_where_it_may_be_one() -> None:
    check_judge(judge(BAD_JUDGES["partial"][0]), impartial=False)
