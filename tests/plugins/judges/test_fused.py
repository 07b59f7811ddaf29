from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import ask
from rlaif_core import Abstain, ConfigError, Score, Verdict
from rlaif_core.fusing import Fusion, Weight
from rlaif_judges.ensemble import Ensemble


class Says:
    def __init__(self, margin: float | None) -> None:
        self.margin = margin

    def ask(self, questions) -> list[Verdict]:
        if self.margin is None:
            return [Verdict(outcomes=(Abstain("?"),) * len(its.answers)) for its in questions]
        signs = [1 if its.answers[0] == "x" else -1 for its in questions]
        return [Verdict(outcomes=(Score(s * self.margin), Score(-s * self.margin))) for s in signs]


def saved(folder: Path, **weights: Weight) -> str:
    Fusion(weights=weights, constant=0.3).save(folder / "fusion.json")
    return str(folder / "fusion.json")


def said(judges: list, file: str, sources: list[str], *answers: str) -> tuple:
    return Ensemble(judges, fusion=file, sources=sources).ask([ask(*answers)])[0].outcomes


def test_a_judge_that_is_usually_wrong_counts_against_what_it_says(tmp_path: Path) -> None:
    file = saved(tmp_path, liar=Weight(kind="vote", slope=-2.0), coin=Weight(kind="vote", slope=0.0))
    outcomes = said([Says(0.9), Says(-0.9)], file, ["liar", "coin"], "x", "y")
    assert outcomes[0].value == -outcomes[1].value
    assert outcomes[0].value < -0.5
    assert outcomes[0].reason.startswith("fused to 0.1")


@given(st.floats(-1, 1), st.floats(-1, 1), st.sampled_from(["vote", "probability", "score"]))
def test_exchanging_the_answers_exchanges_the_sign(tmp_path_factory, one: float, other: float, kind) -> None:
    folder = tmp_path_factory.mktemp("fusion")
    file = saved(folder, a=Weight(kind=kind, slope=1.5, offset=0.4, length=0.8), b=Weight(kind=kind, slope=-0.5))
    there = said([Says(one), Says(other)], file, ["a", "b"], "x", "long answer")
    back = said([Says(one), Says(other)], file, ["a", "b"], "long answer", "x")
    assert [outcome.value for outcome in there] == pytest.approx([outcome.value for outcome in reversed(back)])
    assert there[0].value == -there[1].value


def test_a_score_is_heard_as_the_difference_that_was_fitted(tmp_path: Path) -> None:
    fusion = Fusion(weights={"a": Weight(kind="score", slope=2.0, scale=1.5), "b": Weight(slope=0.0)})
    fusion.save(tmp_path / "fusion.json")
    (one, _) = said([Says(0.4), Says(0.0)], str(tmp_path / "fusion.json"), ["a", "b"], "x", "y")
    assert one.value == pytest.approx(2 / (1 + math.exp(-2.0 * 0.8 / 1.5)) - 1)


def test_a_fusion_of_features_of_the_pairs_is_refused(tmp_path: Path) -> None:
    Fusion(weights={"a": Weight(), "b": Weight()}, features=(0.5,)).save(tmp_path / "fusion.json")
    with pytest.raises(ConfigError, match="was fitted with features of the pairs; fit one without"):
        Ensemble([Says(1), Says(2)], fusion=str(tmp_path / "fusion.json"), sources=["a", "b"])


def test_who_abstains_is_left_out(tmp_path: Path) -> None:
    file = saved(tmp_path, a=Weight(slope=1.0), b=Weight(slope=1.0))
    (one, _) = said([Says(0.5), Says(None)], file, ["a", "b"], "x", "y")
    assert one.value == pytest.approx(0.5, abs=0.05)  # its log-odds alone, but for the constant that cancels nearly


def test_only_comparisons_are_fused(tmp_path: Path) -> None:
    ensemble = Ensemble([Says(0.1), Says(0.2)], fusion=saved(tmp_path, a=Weight(), b=Weight()), sources=["a", "b"])
    assert all(isinstance(its, Abstain) for its in ensemble.ask([ask("x", "y", form="rank")])[0].outcomes)


@pytest.mark.parametrize(
    ("sources", "complaint"),
    [(["a"], "sources names 1, but there are 2 judges"), (["a", "c"], "no source 'c' was fitted")],
)
def test_a_fusion_must_fit_the_judges(tmp_path: Path, sources: list[str], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Ensemble([Says(1), Says(2)], fusion=saved(tmp_path, a=Weight(), b=Weight()), sources=sources)


def test_names_without_a_fusion_are_refused() -> None:
    with pytest.raises(ConfigError, match="sources are names in a fusion"):
        Ensemble([Says(1), Says(2)], sources=["a", "b"])
