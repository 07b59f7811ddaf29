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
    assert verdict.measured == {"calls": 3.0, "spread": pytest.approx(0.1)}


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
