from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import Scripted, answers_in, ask, named
from rlaif_core import Abstain, Failed, Score
from rlaif_core.testing import check_judge
from rlaif_judges.asking import Request, Straight
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.language import LanguageJudge

SHARES = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3)


def judge(choose, **hygiene) -> tuple[LanguageJudge, Scripted]:
    backend = Scripted(choose)
    return LanguageJudge(Straight(backend), Hygiene(**hygiene)), backend


def longer(request: Request) -> list[float]:
    """Prefers the longer answer with 0.8; of one alone the level grows with its length."""
    texts = answers_in(request)
    if "" in texts:
        at = min(len(texts[""]), len(request.options) - 1)
        return [float(k == at) for k in range(len(request.options))]
    worst = "worst" in request.messages[1].content.rpartition("\n\n")[2]
    best = sorted(texts, key=lambda label: (len(texts[label]), texts[label]), reverse=not worst)[0]
    rest = 0.2 / (len(request.options) - 1)
    return [0.8 if option == best else rest for option in request.options]


def test_the_contract_of_a_judge_holds() -> None:
    check_judge(judge(longer)[0])


def values(verdict) -> list[float]:
    return [outcome.value for outcome in verdict.outcomes]


def test_a_comparison_is_antisymmetric() -> None:
    its, _ = judge(longer)
    one, other = its.ask([ask("a", "bbb"), ask("bbb", "a")])
    assert values(one) == pytest.approx([-0.6, 0.6])
    assert values(other) == [-value for value in values(one)]


@given(SHARES, SHARES, st.booleans())
def test_whatever_is_said_exchanging_the_answers_exchanges_the_sign(first, second, ties) -> None:
    """The model may prefer anything: by content, by place, or both."""

    def choose(request: Request) -> list[float]:
        shares = (first if answers_in(request)["A"] == "x" else second)[: len(request.options)]
        return [share / sum(shares) for share in shares]

    its, _ = judge(choose, ties=ties)
    one, other = its.ask([ask("x", "y"), ask("y", "x")])
    assert values(one) == [-value for value in values(other)]
    assert values(one)[0] == -values(one)[1]
    assert all(-1 <= value <= 1 for value in values(one))


@pytest.mark.parametrize("label", ["A", "B"])
def test_one_that_always_names_the_same_place_yields_ties_only(label: str) -> None:
    its, _ = judge(lambda request: named(request, label))
    compared, ranked = its.ask([ask("x", "yy"), ask("x", "yy", "zzz", form="rank")])
    assert values(compared) == [0.0, 0.0]
    assert values(ranked) == [0.0, 0.0, 0.0]
    assert compared.measured["disagreement"] == 1.0
    assert compared.measured["position_bias"] == (0.5 if label == "A" else -0.5)
    assert compared.measured["confidence"] == 0.0


def test_in_one_order_half_as_much_is_asked_and_the_place_counts() -> None:
    its, backend = judge(lambda request: named(request, "A"), orders="one")
    (verdict,) = its.ask([ask("x", "y")])
    assert values(verdict) == [1.0, -1.0]
    assert len(backend.asked) == 1
    assert "disagreement" not in verdict.measured


def test_answers_that_are_the_same_text_are_a_tie_and_nobody_is_asked() -> None:
    its, backend = judge(longer)
    (verdict,) = its.ask([ask("x", "x")])
    assert values(verdict) == [0.0, 0.0]
    assert not backend.asked


def test_a_ranking_sums_to_nothing_and_finds_the_best_and_the_worst() -> None:
    its, backend = judge(longer)
    (verdict,) = its.ask([ask("bb", "a", "cccc", "ddd", form="rank")])
    assert sum(values(verdict)) == pytest.approx(0)
    assert values(verdict) == pytest.approx([0, -(0.8 - 0.2 / 3), 0.8 - 0.2 / 3, 0])
    assert len(backend.asked) == 4
    assert verdict.outcomes[2].reason == "the best with 0.80, the worst with 0.07"


def test_copies_in_a_ranking_are_shown_once_and_share_what_their_text_gets() -> None:
    """Shown twice, they would share the model's probability, and the better answer would lose to a single worse one."""
    its, backend = judge(longer)
    twice, once = its.ask([ask("cccc", "a", "cccc", "bb", form="rank"), ask("cccc", "a", "bb", form="rank")])
    assert values(twice) == [values(once)[place] for place in (0, 1, 0, 2)]
    assert all(len(request.options) == 3 for request in backend.asked)


def test_what_a_ranking_cost_is_counted_once_with_copies_too() -> None:
    backend = Scripted(longer, cost=0.5)
    (verdict,) = LanguageJudge(Straight(backend), Hygiene()).ask([ask("x", "yy", "x", form="rank")])
    assert sum(outcome.cost for outcome in verdict.outcomes) == pytest.approx(0.5 * len(backend.asked))
    assert verdict.measured["calls"] == 4


def test_a_ranking_of_copies_alone_is_a_tie_and_nobody_is_asked() -> None:
    its, backend = judge(longer)
    (verdict,) = its.ask([ask("x", "x", "x", form="rank")])
    assert values(verdict) == [0.0, 0.0, 0.0]
    assert not backend.asked


def test_more_copies_than_letters_can_be_ranked() -> None:
    (verdict,) = judge(longer)[0].ask([ask(*["x", "yy"] * 20, form="rank")])
    assert len(verdict.outcomes) == 40


def test_copies_of_an_answer_that_failed_have_failed() -> None:
    (verdict,) = judge(lambda request: Failed("down"))[0].ask([ask("x", "y", "x", form="rank")])
    assert verdict.outcomes == (Failed("down"),) * 3


def test_a_failure_is_not_hidden_by_a_budget_that_is_spent() -> None:
    def choose(request: Request):
        return Abstain("spent") if answers_in(request)["A"] == "x" else Failed("down")

    backend = Scripted(choose)
    backend.answer = lambda requests: ((number, choose(request)) for number, request in requests)
    (verdict,) = LanguageJudge(Straight(backend), Hygiene()).ask([ask("x", "y")])
    assert verdict.outcomes == (Failed("down"), Failed("down"))


def test_a_failed_vote_is_not_hidden_by_one_that_was_not_paid_for() -> None:
    backend = Scripted(longer)
    backend.answer = lambda requests: (
        (number, Failed("down") if request.seed else Abstain("spent")) for number, request in requests
    )
    hygiene = Hygiene(votes=2, temperature=1.0)
    (verdict,) = LanguageJudge(Straight(backend), hygiene).ask([ask("x", form="score")])
    assert verdict.outcomes == (Failed("down"),)


@given(st.floats(0, 1))
def test_exchanging_the_answers_exchanges_the_sign_whatever_the_calibration(p: float) -> None:
    """Also of one that was fitted to something else, and does not map 1 - p to 1 less what it maps p to."""
    its = LanguageJudge(Straight(Scripted(lambda request: [p, 1 - p])), Hygiene(orders="one"), lambda x: x * x)
    (one,) = its.ask([ask("x", "y")])
    its = LanguageJudge(Straight(Scripted(lambda request: [1 - p, p])), Hygiene(orders="one"), lambda x: x * x)
    (other,) = its.ask([ask("y", "x")])
    assert values(one) == pytest.approx([-value for value in values(other)])


def test_a_calibration_of_comparisons_says_nothing_of_levels_and_rankings() -> None:
    its = LanguageJudge(Straight(Scripted(longer)), Hygiene(), lambda x: 0.5)
    plain, _ = judge(longer)
    questions = [ask("x", "xx", form="score"), ask("x", "yy", "zzz", form="rank")]
    assert its.ask(questions) == plain.ask(questions)


def test_nobody_can_be_ranked_alone() -> None:
    (verdict,) = judge(longer)[0].ask([ask("x", form="rank")])
    assert isinstance(verdict.outcomes[0], Abstain)


@given(SHARES)
def test_a_score_is_the_expected_level_from_minus_one_to_one(shares) -> None:
    p = [share / sum(shares) for share in shares]
    its, _ = judge(lambda _: p, levels=3)
    (verdict,) = its.ask([ask("x", form="score")])
    assert values(verdict) == pytest.approx([p[2] - p[0]])
    assert verdict.outcomes[0].reason == f"level {p[0] + 2 * p[1] + 3 * p[2]:.1f} of 3"


def test_the_levels_of_the_question_come_before_those_of_the_judge() -> None:
    its, backend = judge(lambda request: named(request, request.options[-1]))
    (verdict,) = its.ask([ask("x", form="score", levels=("awful", "superb"), rubric="taste")])
    assert values(verdict) == [1.0]
    assert backend.asked[0].options == ("1", "2")
    assert "1: awful\n2: superb" in backend.asked[0].messages[1].content
    assert "Judge by this: taste" in backend.asked[0].messages[1].content


def test_each_answer_is_scored_by_itself() -> None:
    its, backend = judge(longer)
    (verdict,) = its.ask([ask("", "xx", "xxxx", form="score")])
    assert values(verdict) == [-1.0, 0.0, 1.0]
    assert [list(answers_in(request).values()) for request in backend.asked] == [[""], ["xx"], ["xxxx"]]


def test_copies_that_are_scored_get_the_level_that_they_reach() -> None:
    its, _ = judge(longer)
    (verdict,) = its.ask([ask("xxxx", "xxxx", form="score")])
    assert values(verdict) == [1.0, 1.0]


def test_a_failed_choice_fails_what_it_is_about_and_nothing_else() -> None:
    def choose(request: Request):
        return Failed("no connection") if "wicked" in request.messages[1].content else longer(request)

    its, _ = judge(choose)
    scored, compared, fine = its.ask([ask("wicked", "xx", form="score"), ask("wicked", "x"), ask("x", "yy")])
    assert scored.outcomes[0] == Failed("no connection")
    assert isinstance(scored.outcomes[1], Score)
    assert compared.outcomes == (Failed("no connection"), Failed("no connection"))
    assert values(fine) == pytest.approx([-0.6, 0.6])


def test_votes_are_averaged_and_their_spread_is_told() -> None:
    def choose(request: Request):
        return named(request, "A" if request.seed % 2 else "B") if answers_in(request)["A"] == "x" else [0.5, 0.5]

    its, backend = judge(choose, votes=4, temperature=0.7)
    (verdict,) = its.ask([ask("x", "y")])
    assert values(verdict) == [0.0, 0.0]
    assert verdict.measured["spread"] == 0.25  # 0.5 in one order, none in the other
    assert {request.seed for request in backend.asked} == {0, 1, 2, 3}
    assert {request.temperature for request in backend.asked} == {0.7}


@pytest.mark.parametrize(("lost", "heard"), [(1, True), (2, False), (3, False)])
def test_a_minority_of_lost_votes_is_done_without(lost: int, heard: bool) -> None:
    def choose(request: Request):
        return Failed("unreadable") if request.seed < lost else named(request, "1")

    (verdict,) = judge(choose, votes=3, temperature=1.0)[0].ask([ask("x", form="score")])
    assert isinstance(verdict.outcomes[0], Score) == heard
    if heard:
        assert "1 votes were not heard" in verdict.outcomes[0].reason


def test_half_of_the_votes_is_too_few() -> None:
    def choose(request: Request):
        return Failed("unreadable") if request.seed else named(request, "1")

    (verdict,) = judge(choose, votes=2, temperature=1.0)[0].ask([ask("x", form="score")])
    assert verdict.outcomes == (Failed("unreadable"),)


def test_the_margin_that_is_measured_is_that_of_the_orders_before_all_else() -> None:
    def choose(request: Request):
        return [0.9, 0.1] if answers_in(request)["A"] == "x" else [0.6, 0.4]

    (tied,) = judge(choose, flips="tie")[0].ask([ask("x", "y")])
    assert values(tied) == [0.0, 0.0]
    assert tied.measured["margin"] == pytest.approx(0.3)
    its = LanguageJudge(Straight(Scripted(choose)), Hygiene(), lambda p: 0.5)
    (calibrated,) = its.ask([ask("x", "y")])
    assert values(calibrated) == [0.0, 0.0]
    assert calibrated.measured["margin"] == pytest.approx(0.3)


def test_little_probability_on_the_choices_and_text_that_was_not_shown_are_said() -> None:
    backend = Scripted(longer)
    original = backend.answer
    backend.answer = lambda requests: ((number, replace(said, mass=0.2)) for number, said in original(requests))
    (verdict,) = LanguageJudge(Straight(backend), Hygiene(longest=100)).ask([ask("x" * 150, "y")])
    assert "50 characters were not shown" in verdict.outcomes[0].reason
    assert "only 20% of the judge's probability was on the choices" in verdict.outcomes[0].reason


def test_a_reason_says_how_an_answer_did_in_either_place() -> None:
    def choose(request: Request):
        return [0.9, 0.1] if answers_in(request)["A"] == "x" else [0.6, 0.4]

    one, other = judge(choose)[0].ask([ask("x", "y")])[0].outcomes
    assert one.reason == "preferred with 0.65 (0.90 where it was shown first, 0.40 second)"
    assert other.reason == "preferred with 0.35 (0.60 where it was shown first, 0.10 second)"


def test_reasons_are_written_first_and_the_choice_is_made_in_their_light() -> None:
    def choose(request: Request):
        return named(request, "A") if request.options else "The first quotes its source."

    its, backend = judge(choose, reasons=True, reason_tokens=50)
    (verdict,) = its.ask([ask("x", "y")])
    thought, _, chosen, _ = backend.asked
    assert thought.options == ()
    assert thought.max_tokens == 50
    assert [message.role for message in chosen.messages] == ["system", "user", "assistant", "user"]
    assert chosen.messages[2].content == "The first quotes its source."
    assert chosen.messages[3].content.endswith("Which answer is better, A or B?")
    assert "The first quotes its source." in verdict.outcomes[0].reason
    assert verdict.measured["calls"] == 4


def test_votes_with_reasons_differ_by_what_is_written_and_choose_without_chance() -> None:
    its, backend = judge(
        lambda request: named(request, "1") if request.options else f"thought {request.seed}",
        reasons=True,
        votes=3,
        temperature=0.7,
    )
    its.ask([ask("x", form="score")])
    written, chosen = backend.asked[:3], backend.asked[3:]
    assert [(its.seed, its.temperature) for its in written] == [(0, 0.7), (1, 0.7), (2, 0.7)]
    assert [its.temperature for its in chosen] == [0.0] * 3
    assert [its.messages[2].content for its in chosen] == ["thought 0", "thought 1", "thought 2"]


def test_where_no_reasons_could_be_had_no_choice_is_made() -> None:
    its, backend = judge(lambda request: Failed("down"), reasons=True)
    (verdict,) = its.ask([ask("x", "y")])
    assert verdict.outcomes == (Failed("down"), Failed("down"))
    assert all(not request.options for request in backend.asked)


@pytest.mark.parametrize(("flips", "kind"), [("average", Score), ("tie", Score), ("abstain", Abstain)])
def test_orders_that_disagree_are_averaged_tied_or_left_out(flips: str, kind: type) -> None:
    def choose(request: Request):
        return [0.9, 0.1] if answers_in(request)["A"] == "x" else [0.6, 0.4]

    (verdict,) = judge(choose, flips=flips)[0].ask([ask("x", "y")])
    assert {type(outcome) for outcome in verdict.outcomes} == {kind}
    if kind is Score:
        assert values(verdict)[0] == pytest.approx(0.3 if flips == "average" else 0.0)


def test_below_the_wanted_confidence_it_abstains() -> None:
    its, _ = judge(lambda request: [0.6, 0.4], orders="one", confidence=0.3)
    (verdict,) = its.ask([ask("x", "y")])
    assert all(isinstance(outcome, Abstain) for outcome in verdict.outcomes)
    its, _ = judge(lambda request: [0.2] * 5, confidence=0.1)
    (verdict,) = its.ask([ask("x", form="score")])
    assert isinstance(verdict.outcomes[0], Abstain)
    its, _ = judge(lambda request: named(request, "5"), confidence=0.99)
    (verdict,) = its.ask([ask("x", form="score")])
    assert values(verdict) == [1.0]


@pytest.mark.parametrize("levels", range(2, 10))
def test_one_that_cannot_tell_the_levels_apart_has_an_opinion_unless_confidence_is_wanted(levels: int) -> None:
    its, _ = judge(lambda request: [1 / levels] * levels, levels=levels)
    (verdict,) = its.ask([ask("x", form="score")])
    assert values(verdict) == pytest.approx([0.0])


def test_what_asking_cost_is_shared_by_the_answers() -> None:
    backend = Scripted(lambda request: named(request, "A") if request.options else "hm", cost=0.5)
    its = LanguageJudge(Straight(backend), Hygiene(reasons=True))
    (verdict,) = its.ask([ask("x", "y")])
    assert [outcome.cost for outcome in verdict.outcomes] == [1.0, 1.0]  # two orders, each with reasons and a choice


def test_tokens_are_counted_where_they_are_known_those_of_reasons_too() -> None:
    backend = Scripted(lambda request: named(request, "A") if request.options else "hm")
    original = backend.answer

    def answer(requests):
        for number, reply in original(requests):
            yield number, replace(reply, tokens_in=10, tokens_out=1)

    backend.answer = answer  # type: ignore[method-assign]
    (verdict,) = LanguageJudge(Straight(backend), Hygiene(reasons=True)).ask([ask("x", "y")])
    assert (verdict.measured["tokens_in"], verdict.measured["tokens_out"]) == (40, 4)
    (verdict,) = judge(longer)[0].ask([ask("x", "yy")])
    assert "tokens_in" not in verdict.measured


def test_a_batch_is_asked_at_once() -> None:
    calls = []

    class Counting(Straight):
        def answer(self, requests):
            calls.append(len(requests))
            return super().answer(requests)

    its = LanguageJudge(Counting(Scripted(longer)), Hygiene())
    its.ask([ask("x", "yy"), ask("x", "y", "zz", form="rank"), ask("x", form="score")])
    assert calls == [2 + 4 + 1]
