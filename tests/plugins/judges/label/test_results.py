from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import Prompt
from rlaif_core.rubric import Criterion
from rlaif_judges.label.config import LabelTable
from rlaif_judges.label.journal import Journal
from rlaif_judges.label.results import Results, listed

PROMPT = Prompt(id="p", text="?")
TWO = (Criterion(text="a", name="truth", weight=3.0), Criterion(text="b", name="kindness"))


class Standing:
    """Questions whose criteria are these."""

    def __init__(self, *criteria: Criterion) -> None:
        self.standards, self._criteria = self, criteria

    def of(self, prompt: Prompt) -> tuple[Criterion, ...]:
        return self._criteria


def judged(tmp_path, *records: tuple[str, dict], criteria=TWO):
    with Journal(tmp_path) as journal:
        keyed = [
            (("preferences", "main", "p", "0 1", str(number)), state, {"cost": 1.0, **said})
            for number, (state, said) in enumerate(records)
        ]
        journal.append(keyed, (("preferences", "main"), 2.5))
        results = Results(journal, Standing(*criteria), LabelTable(what=["preferences"]))
        return results.judged("preferences", "main", PROMPT, (0, 1)), results.count("preferences", "main")


def said(values, first=True, **measured):
    return "done", {"values": values, "reasons": ["r", "s"], "measured": measured, "first": first}


def test_criteria_are_averaged_by_weight_with_all_their_reasons(tmp_path) -> None:
    its, count = judged(
        tmp_path, said([1.0, -1.0], calls=2, tokens_in=10), said([-0.5, 0.5], calls=3, disagreement=0.5)
    )
    assert its.values == (0.625, -0.625)
    assert its.margin == 0.625
    assert its.reasons == ("truth +1.00: r; kindness -0.50: r", "truth -1.00: s; kindness +0.50: s")
    assert its.by_criterion == ((1.0, -1.0), (-0.5, 0.5))
    assert its.cost == 2.0
    told = count.told()
    assert (told["labelled"], told["calls"], told["tokens_in"], told["seconds"]) == (1, 5, 10, 2.5)
    assert (told["disagreement"], told["first_preferred"]) == (0.5, 0.5)


def test_the_first_shown_is_who_was_shown_first_and_not_who_stands_first(tmp_path) -> None:
    _, count = judged(tmp_path, said([1.0, -1.0], first=False), criteria=TWO[:1])
    assert count.told()["first_preferred"] == 0.0


@pytest.mark.parametrize(
    ("states", "failed", "abstained"), [(("failed", "abstained"), 1, 0), (("done", "abstained"), 0, 1)]
)
def test_where_one_criterion_lacks_there_is_no_label(tmp_path, states, failed, abstained) -> None:
    kinds = {
        "failed": ("failed", {"reason": "down"}),
        "abstained": ("abstained", {"reason": "?"}),
        "done": said([1, 0]),
    }
    its, count = judged(tmp_path, *(kinds[state] for state in states))
    assert its.values == ()
    assert (count.labelled, count.failed, count.abstained) == (0, failed, abstained)
    assert listed("preferences", "main", PROMPT, (0, 1), its.lacking[-1])["state"] == "abstained"


def test_what_was_never_asked_has_failed(tmp_path) -> None:
    its, count = judged(tmp_path, said([1, 0]))
    assert its.lacking[0]["reason"] == "it was not asked"
    assert count.failed == 1


@given(st.floats(-1, 1), st.sampled_from(["linear", "logistic"]))
def test_probabilities_of_both_ways_round_sum_to_one(margin: float, how: str) -> None:
    results = Results(None, None, LabelTable(what=["preferences"], probability=how))
    one, other = results.probability("main", margin), results.probability("main", -margin)
    assert one + other == pytest.approx(1)
    assert (one > 0.5) == (other < 0.5)


def test_logistic_is_bradley_terry_and_cannot_overflow() -> None:
    results = Results(None, None, LabelTable(what=["preferences"], probability="logistic"))
    assert results.probability("main", (3.0 - 1.0) / 2) == pytest.approx(math.exp(3) / (math.exp(3) + math.exp(1)))
    assert results.probability("main", 1e30) == 1.0
    assert results.probability("main", -1e30) == pytest.approx(0.0)


def test_a_tie_is_within_its_width() -> None:
    results = Results(None, None, LabelTable(what=["preferences"], tie=0.1))
    assert [results.tied(p) for p in (0.39, 0.4, 0.5, 0.6, 0.61)] == [False, True, True, True, False]
