from __future__ import annotations

from collections.abc import Sequence

import pytest

from judging import ask
from rlaif_core import Abstain, ConfigError, Failed, Outcome, PluginError, Score, Verdict
from rlaif_core.testing import check_judge
from rlaif_judges.ensemble import Ensemble


class Says:
    def __init__(self, *outcomes: Outcome | float, **measured: float) -> None:
        self.outcomes = tuple(Score(o, "so") if isinstance(o, int | float) else o for o in outcomes)
        self.measured = measured

    def ask(self, questions: Sequence) -> list[Verdict]:
        return [
            Verdict(outcomes=(self.outcomes * len(its.answers))[: len(its.answers)], measured=self.measured)
            for its in questions
        ]


def said(ensemble: Ensemble, count: int = 1, form: str = "score") -> tuple:
    return ensemble.ask([ask(*map(str, range(count)), form=form)])[0].outcomes


def test_the_contract_of_a_judge_holds() -> None:
    check_judge(Ensemble([Says(0.5), Says(0.1)]))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, 0.2),
        ({"weights": [1, 0, 1]}, 0.3),
        ({"combine": "minimum"}, -0.2),
        ({"combine": "veto", "below": -0.1}, -0.2),
        ({"combine": "veto", "below": -0.3}, 0.2),
        ({"combine": "uncertainty", "penalty": 2}, 0.2 - 2 * (0.4**2 + 0.4**2) / 3),
        ({"combine": "soft_minimum", "beta": 1e-3}, -0.2 + 1e-3 * 1.0986),
    ],
)
def test_scores_are_combined_as_wanted(options: dict, wanted: float) -> None:
    (outcome,) = said(Ensemble([Says(0.6 if "weights" not in options else 0.8), Says(0.2), Says(-0.2)], **options))
    assert outcome.value == pytest.approx(wanted, abs=1e-6)


def test_a_comparison_stays_antisymmetric_and_pessimism_is_towards_a_tie() -> None:
    agree = Ensemble([Says(0.8, -0.8), Says(0.2, -0.2)], combine="minimum")
    assert [outcome.value for outcome in said(agree, 2, "compare")] == [0.2, -0.2]
    differ = Ensemble([Says(0.8, -0.8), Says(-0.2, 0.2)], combine="minimum")
    assert [outcome.value for outcome in said(differ, 2, "compare")] == [0.0, 0.0]


def test_a_ranking_still_sums_to_nothing() -> None:
    ensemble = Ensemble([Says(0.8, -0.3, -0.5), Says(-0.2, 0.4, -0.2)], combine="minimum")
    outcomes = said(ensemble, 3, "rank")
    assert sum(outcome.value for outcome in outcomes) == pytest.approx(0)
    assert outcomes[0].value - outcomes[2].value == pytest.approx(-0.2 + 0.5)


def test_who_abstains_is_left_out_and_who_fails_is_not() -> None:
    (outcome,) = said(Ensemble([Says(0.4), Says(Abstain("unsure")), Says(0.2)]))
    assert outcome.value == pytest.approx(0.3)
    (outcome,) = said(Ensemble([Says(0.4), Says(Failed("down")), Says(0.2)]))
    assert outcome == Failed("1 of 3 judges failed: down")
    (outcome,) = said(Ensemble([Says(Abstain("unsure")), Says(Abstain("unsure"))]))
    assert isinstance(outcome, Abstain)


@pytest.mark.parametrize(("quorum", "kind"), [(1, Score), (2, Score), (3, Failed)])
def test_a_quorum_says_how_many_must_be_heard(quorum: int, kind: type) -> None:
    (outcome,) = said(Ensemble([Says(0.4), Says(Failed("down")), Says(0.2)], quorum=quorum))
    assert isinstance(outcome, kind)
    assert not isinstance(outcome, Score) or outcome.value == pytest.approx(0.3)


def test_judges_too_far_apart_have_no_opinion() -> None:
    assert isinstance(said(Ensemble([Says(0.9), Says(-0.9)], disagreement=0.5))[0], Abstain)
    assert isinstance(said(Ensemble([Says(0.9), Says(0.8)], disagreement=0.5))[0], Score)


def test_reasons_costs_and_measures_are_told() -> None:
    ensemble = Ensemble([Says(Score(0.4, "kind", 1.5), calls=2.0), Says(Score(0.2, "true", 0.5), calls=4.0)])
    (verdict,) = ensemble.ask([ask("x", form="score")])
    assert verdict.outcomes[0].reason == "+0.40: kind; +0.20: true"
    assert verdict.outcomes[0].cost == 2.0
    assert verdict.measured == {"calls": 6.0, "spread": pytest.approx(0.1)}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"weights": [1]}, "give 2, none below 0, not all 0"),
        ({"weights": [0, 0]}, "not all 0"),
        ({"weights": [1, -1]}, "none below 0"),
        ({"quorum": 3}, "quorum is 3, but there are 2 judges"),
        ({"beta": 0}, "beta must be above 0"),
    ],
)
def test_wrong_options_are_refused(options: dict, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Ensemble([Says(1), Says(2)], **options)


def test_one_is_no_ensemble_and_a_member_must_answer_every_question() -> None:
    with pytest.raises(ConfigError, match="it has 1 judges, but must have at least 2"):
        Ensemble([Says(1)])
    lazy = Says(1)
    lazy.ask = lambda questions: []
    with pytest.raises(PluginError, match="judge Says gave 0 verdicts on 1 questions"):
        said(Ensemble([Says(1), lazy]))


class Fussy(Says):
    """Says 1 of everything but of answers with the number that it abstains on."""

    def __init__(self, number: str, what: Outcome, value: float = 1.0) -> None:
        super().__init__(value)
        self.number, self.what = number, what

    def ask(self, questions: Sequence) -> list[Verdict]:
        return [
            Verdict(outcomes=tuple(self.what if answer == self.number else self.outcomes[0] for answer in its.answers))
            for its in questions
        ]


@pytest.mark.parametrize("form", ["rank", "score"])
@pytest.mark.parametrize("what", [Abstain("unsure"), Failed("down")])
def test_the_answers_to_a_question_are_compared_by_the_same_judges(form: str, what: Outcome) -> None:
    """Else an answer on which a harsh judge is silent would be the better for it."""
    harsh = Fussy("1", what, value=-1.0)
    outcomes = said(Ensemble([Says(0.5), harsh, Says(0.7)], quorum=2), 3, form)
    assert [type(outcome) for outcome in outcomes] == [Score] * 3
    assert len({outcome.value for outcome in outcomes}) == 1


def test_an_answer_that_nobody_scored_is_left_out_and_the_others_are_not() -> None:
    outcomes = said(Ensemble([Fussy("1", Abstain("hm")), Fussy("1", Abstain("hm"), 0.5)]), 3)
    assert [type(outcome) for outcome in outcomes] == [Score, Abstain, Score]
    assert outcomes[0].value == 0.75


def test_where_no_judge_scored_all_there_is_no_opinion_on_any() -> None:
    outcomes = said(Ensemble([Fussy("0", Abstain("hm")), Fussy("1", Abstain("hm"))]), 2)
    assert [type(outcome) for outcome in outcomes] == [Abstain, Abstain]
    assert "of 2 judges have an opinion" in outcomes[0].reason


@pytest.mark.parametrize("silent", [Failed("down"), Abstain("unsure"), Score(-50.0)])
def test_a_judge_without_weight_is_only_watched(silent: Outcome) -> None:
    judges = [Says(0.4), Says(silent), Says(0.2)]
    for combine in ("mean", "minimum", "soft_minimum", "uncertainty", "veto"):
        watched = Ensemble(judges, combine, weights=[1, 0, 1], disagreement=0.5, below=-1, quorum=2)
        (outcome,), (alone,) = said(watched), said(Ensemble([Says(0.4), Says(0.2)], combine))
        assert outcome.value == pytest.approx(alone.value)


def test_a_quorum_that_can_never_be_reached_is_refused() -> None:
    with pytest.raises(ConfigError, match="quorum is 2, but 1 judges have a weight"):
        Ensemble([Says(1), Says(2)], weights=[1, 0], quorum=2)


@pytest.mark.parametrize("name", ["beta", "penalty", "disagreement", "below", "weights"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_options_that_are_no_finite_numbers_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=r"must|give"):
        Ensemble([Says(1), Says(2)], **{name: [value, 1.0] if name == "weights" else value})


def test_a_member_must_say_something_of_every_answer() -> None:
    short = Says(1)
    short.ask = lambda questions: [Verdict(outcomes=(Score(1.0),))] * len(questions)
    for judges in ([Says(1), short], [short, short]):
        with pytest.raises(PluginError, match="of 2 answers; a Verdict with as many outcomes is due"):
            said(Ensemble(judges), 2)
