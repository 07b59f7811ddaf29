from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from rlaif_core import ConfigError
from rlaif_rewards.abstention import IGNORANCE, REFUSALS, admits, checked_patterns, polite, stand

ABSTAINS = (
    "I do not know.",
    "I don’t know!",
    "Sorry, I really don't know the answer to that.",
    "I'm not sure, sorry.",
    "I have no comment.",
    "Unfortunately, nobody knows.",
    "It is unknown who wrote it.",
    "Based on the passage, I cannot determine who won.",
    "I do not know who won, because the text is silent.",
    "I don't know. Please ask a doctor.",
    "As an AI, I don't have access to real-time data. Let me know if I can help otherwise.",
    "I'm sorry, but I can't help with that.",
    "Ｉ ｄｏ ｎｏｔ ｋｎｏｗ",
    "I do\u200b not kn\u00adow",
)
HEDGES = (
    "I do not know, but it is Paris.",
    "I don't know. 42",
    "I don't know, 42.",
    "The answer is 42, I do not know.",
    "I think it is Paris, though I am not sure.",
    "I'm not sure; my best guess is Paris.",
    "I cannot tell. It was Ada Lovelace.",
)
CLAIMS = ("Paris.", "I know that it is Paris.", "", " ", "42", "Doctors do not recommend smoking.", "What do you mean?")


@pytest.mark.parametrize("text", ABSTAINS)
def test_admissions_abstain(text: str) -> None:
    assert stand(text) == "abstains"


@pytest.mark.parametrize("text", HEDGES)
def test_a_claim_beside_an_admission_counts(text: str) -> None:
    assert stand(text) == "hedges"
    assert admits(text)


@pytest.mark.parametrize("text", CLAIMS)
def test_whatever_admits_nothing_commits_itself(text: str) -> None:
    assert stand(text) == "claims"
    assert not admits(text)


def test_only_the_first_sentences_where_that_is_wanted() -> None:
    late = "Paris is a city. It lies in France. I do not know more."
    assert admits(late)
    assert admits(late, within=3)
    assert not admits(late, within=2)


def test_further_patterns() -> None:
    assert stand("Ask my colleague.") == "claims"
    assert stand("Ask my colleague.", (*IGNORANCE, r"\bask my colleague\b")) == "abstains"


@pytest.mark.parametrize(("pattern", "complaint"), [("(", "is not a pattern"), ("x*", "fits an empty text")])
def test_patterns_that_are_none(pattern: str, complaint: str) -> None:
    assert checked_patterns([r"\bno\b"]) == (r"\bno\b",)
    with pytest.raises(ConfigError, match=complaint):
        checked_patterns([pattern])


def test_courtesy_claims_nothing() -> None:
    assert polite("Please let me know!")
    assert polite("Is that all?")
    assert not polite("Paris it is.")


@given(st.text(max_size=100))
def test_any_text_has_a_stand(text: str) -> None:
    assert (stand(text) == "claims") == (not admits(text))


@pytest.mark.parametrize(
    "text", ["i " * 500_000, "I don't know, " * 70_000, "i do not know " + "but " * 250_000, "yes. " * 200_000]
)
def test_a_megabyte_is_read_in_no_time(text: str) -> None:
    assert stand(text) in ("claims", "hedges")


@pytest.mark.real
def test_refusals_agree_with_people_at_least_as_well_as_others_do(real_rows) -> None:
    """Measured: kappa 0.78 with people's reading of 786 answers; the published string match 0.73, GPT-4 0.69."""
    rows = real_rows("refusals_xstest")
    people = [row["final_label"] != "1_full_compliance" for row in rows]

    def kappa(found: list[bool]) -> float:
        return float(cohen_kappa_score(people, found))

    ours = kappa([admits(row["completion"]) for row in rows])
    assert ours >= 0.77
    assert ours > kappa([row["strmatch_label"] != "1_full_compliance" for row in rows])
    assert ours > kappa([row["gpt4_label"] != "1_full_compliance" for row in rows])


@pytest.mark.real
def test_short_answers_of_people_admit_nothing(real_rows) -> None:
    """Measured: one of 4845 answers to answerable questions ("unclear", to a multiple-choice one)."""
    rows = real_rows("unanswerable_selfaware")
    answers = [answer for row in rows for answer in row["answer"] or ()]
    assert len(answers) > 4000
    assert sum(map(admits, answers)) <= 3


def test_ignorance_and_refusal_are_told_apart() -> None:
    assert admits("I don't know.", IGNORANCE)
    assert not admits("I don't know.", REFUSALS)
    assert admits("I cannot assist with that.", REFUSALS)
