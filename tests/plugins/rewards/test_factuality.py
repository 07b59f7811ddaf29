from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import Abstain, ConfigError, DataError, Failed, Prompt, Score
from rlaif_core.testing import check_reward, make_rollouts
from rlaif_rewards.entailment import Relation
from rlaif_rewards.factuality import Factuality, claim_score, claims_of, distinct, finding, short_penalty

NLI = """
def relation(premise, hypothesis):
    words = hypothesis.lower().strip(" .!").split()
    if " ".join(words) in premise.lower():
        return "entailment"
    return "contradiction" if " ".join(words[:-1]) in premise.lower() else "neutral"
"""
EVIDENCE = ["Ada lives in Paris.", "Ada eats figs. Bo sings."]
FINDINGS = st.lists(st.sampled_from(["supported", "refuted", "unverifiable"]), min_size=1, max_size=12)


def told(source: Factuality, answer: str, evidence=EVIDENCE, text: str = "Where does Ada live?"):
    prompt = Prompt(id="p", text=text, meta={"evidence": evidence})
    (outcome,) = source.score(make_rollouts([answer], prompts=[prompt]))
    return outcome


def value(source: Factuality, answer: str) -> float:
    outcome = told(source, answer)
    assert isinstance(outcome, Score)
    assert outcome.reason
    return outcome.value


def test_keeps_the_contract(written) -> None:
    check_reward(Factuality(written(NLI), no_claims=0.0), meta={"evidence": EVIDENCE})


def test_the_share_of_supported_claims(written) -> None:
    source = Factuality(written(NLI))
    assert value(source, "Ada lives in Paris. Ada eats figs.") == 1.0
    assert value(source, "Ada lives in Paris. Ada eats plums.") == 0.5
    assert value(source, "Ada lives in Rome. Cy is tall.") == 0.0


def test_what_is_refuted_and_what_cannot_be_verified_cost_apart(written) -> None:
    source = Factuality(written(NLI), refuted=1.0, unverifiable=0.25)
    assert value(source, "Ada lives in Paris.") == 1.0
    assert value(source, "Ada lives in Rome.") == -1.0
    assert value(source, "Cy is tall.") == -0.25
    assert value(source, "Ada lives in Paris. Ada lives in Rome. Cy is tall. Bo sings.") == 0.5 - 0.25 - 0.0625


def test_contradictory_claims_cannot_both_be_supported(written) -> None:
    assert value(Factuality(written(NLI), refuted=1.0), "Ada lives in Paris. Ada lives in Rome.") == 0.0


def test_the_reason_names_what_is_wrong(written) -> None:
    outcome = told(Factuality(written(NLI)), "Ada lives in Rome. Bo sings.")
    assert outcome.reason == "1 of 2 claims supported; refuted: 'Ada lives in Rome.'"


def test_without_claims_the_value_is_defined(written) -> None:
    for answer in ("", " ", "I do not know.", "Who is Ada?", "...", "where does ada live?"):
        assert told(Factuality(written(NLI)), answer) == Abstain("makes no claim")
        assert told(Factuality(written(NLI), no_claims=-0.5), answer) == Score(-0.5, "makes no claim")


def test_claims_repeated_or_copied_from_the_prompt_earn_nothing() -> None:
    assert claims_of("Ada lives in Paris. ADA lives in Paris! Bo sings.") == ["Ada lives in Paris.", "Bo sings."]
    assert claims_of("Ada is old. Bo sings.", "Ada is old. Who sings?") == ["Bo sings."]
    assert claims_of("I do not know. Is it Bo?") == []
    assert distinct(["b", "a", "B", " "]) == ["b", "a"]


def test_without_evidence_there_is_no_opinion(written) -> None:
    for evidence in (None, [], " "):
        assert isinstance(told(Factuality(written(NLI)), "Bo sings.", evidence), Abstain)
    with pytest.raises(DataError, match="has no column 'passages'"):
        told(Factuality(written(NLI), evidence="passages"), "Bo sings.")


def test_failures_are_no_numbers(judging) -> None:
    for said in (Failed("outage", 0.5), Abstain("unsure", 0.5)):
        outcome = told(Factuality("judge", judge=judging(lambda question, said=said: said)), "Bo sings.", "Bo sings.")
        assert type(outcome) is type(said)
        assert outcome.cost == 1.0  # both questions are paid for


def test_beyond_the_most_nobody_is_asked_and_nothing_counts_as_verified(judging) -> None:
    judge = judging(lambda question: 0.5)
    source = Factuality("judge", judge=judge, most=2, unverifiable=1.0)
    told(source, "One is. Two are. Three are. Four are.", "Many are.")
    assert len(judge.asked) == 4  # two claims, both ways
    assert value(Factuality("judge", judge=judging(sure), most=2), "One is. Two are. Three are. Four are.") == 0.5


def sure(question) -> float:
    return float("follows" in question.rubric)


def test_claims_may_be_split_by_a_function(written) -> None:
    source = Factuality(written(NLI), claims=written("def split(text):\n    return text.split(';')"))
    assert value(source, "Ada lives in Paris; Ada lives in Rome") == 0.5


@given(FINDINGS, st.randoms(use_true_random=False))
def test_the_order_of_claims_does_not_matter(findings, random) -> None:
    shuffled = random.sample(findings, len(findings))
    assert claim_score(shuffled, 0.5, 0.2, 10) == pytest.approx(claim_score(findings, 0.5, 0.2, 10))


@given(FINDINGS)
def test_a_supported_claim_more_never_lowers_precision(findings) -> None:
    assert claim_score([*findings, "supported"]) >= claim_score(findings)


@given(FINDINGS, st.floats(0, 2), st.floats(0, 2), st.integers(0, 20))
def test_it_stays_in_range(findings, refuted: float, unverifiable: float, gamma: int) -> None:
    assert -max(refuted, unverifiable) - 1e-9 <= claim_score(findings, refuted, unverifiable, gamma) <= 1


def test_the_penalty_for_saying_little() -> None:
    assert [short_penalty(count, 10) for count in (11, 50)] == [1, 1]
    assert short_penalty(10, 10) == 1
    assert short_penalty(5, 10) == pytest.approx(math.exp(-1))
    assert short_penalty(1, 0) == 1
    values = [claim_score(["supported"] * count, gamma=10) for count in range(1, 15)]
    assert values == sorted(values)


def test_findings() -> None:
    assert finding([Relation(0.9, 0.05)]) == "supported"
    assert finding([Relation(0.1, 0.8), Relation(0.2, 0.1)]) == "refuted"
    assert finding([Relation(0.3, 0.3)]) == "unverifiable"
    assert finding([Relation(0.9, 0.0), Relation(0.0, 0.9)]) == "unverifiable"  # passages that contradict one another
    assert finding([Relation(0.6, 0.0)], entails=0.7) == "unverifiable"


@pytest.mark.parametrize(
    "options",
    [{"refuted": -1}, {"gamma": -1}, {"unverifiable": math.inf}, {"entails": 0}, {"claims": "lines"}, {"most": 0}],
)
def test_options_that_make_no_sense(written, options) -> None:
    with pytest.raises(ConfigError, match="factuality: "):
        Factuality(written(NLI), **options)


@pytest.mark.real
def test_right_answers_above_hallucinated_ones(written, real_rows) -> None:
    """By a crude instrument, the share of an answer's words that are in the passage; measured: the right
    answer is ahead in 99 % of the 191 pairs that differ."""
    source = Factuality(
        written(
            "def relation(premise, hypothesis):\n"
            "    said = set(hypothesis.lower().strip('. ').split())\n"
            "    given = set(premise.lower().replace('.', ' ').split())\n"
            "    share = len(said & given) / len(said)\n"
            "    return {'entailment': share, 'contradiction': 0.0}"
        ),
        entails=0.9,
    )
    rows = real_rows("hallucination_qa")
    prompts = [
        Prompt(id=str(number), text=row["question"], meta={"evidence": row["knowledge"]})
        for number, row in enumerate(rows)
    ]
    rollouts = make_rollouts([(row["right_answer"], row["hallucinated_answer"]) for row in rows], prompts=prompts)
    outcomes = source.score(rollouts)
    pairs = [(outcomes[row], outcomes[row + 1]) for row in range(0, len(outcomes), 2)]
    scored = [(one.value, other.value) for one, other in pairs if isinstance(one, Score) and isinstance(other, Score)]
    differ = [one > other for one, other in scored if one != other]
    assert len(differ) > 100
    assert sum(differ) / len(differ) >= 0.97
