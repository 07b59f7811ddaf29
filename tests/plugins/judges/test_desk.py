from __future__ import annotations

import gc
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlaif_core import Abstain, Failed, FeedbackError, Outcome, PluginError, Question, Score, Verdict
from rlaif_core.testing import check_judge
from rlaif_judges.asking import Message, Reply, Request
from rlaif_judges.economy.budget import Economy, Spent
from rlaif_judges.economy.desk import Desk
from rlaif_judges.economy.ledger import ledger, totals
from scripted_backend import COST, TOKENS, Scripted, reply, request

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
NUMBERS = st.floats(0, 1e9)


def desk(cache: Path | str, backend: Any = None, lease: float = 15.0, **economy: Any) -> Desk:
    return Desk(backend or Scripted(), judge="main", economy=Economy(cache=str(cache), **economy), lease=lease)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "judges.sqlite"


def outcomes(file: Path) -> Counter[str]:
    return Counter(call.outcome for call in ledger(file))


def test_each_gets_its_own_reply_whatever_is_known(file: Path) -> None:
    asked = [request(number) for number in (3, 1, 2, 1)]
    assert desk(file).answer(asked[1:2]) == [reply(asked[1])]
    assert desk(file).answer(asked) == [reply(its) for its in asked]
    assert desk(file).answer([]) == []


def test_equal_requests_are_asked_once_in_the_order_of_the_list(file: Path) -> None:
    this = desk(file)
    this.answer([request(number) for number in (2, 1, 2, 3, 1)])
    assert this.backend.calls == ["question 2", "question 1", "question 3"]  # type: ignore[attr-defined]


def test_what_was_kept_is_not_asked_again_in_this_process_or_another(file: Path) -> None:
    asked = [request(number) for number in range(700)]  # more than one statement takes
    first = desk(file).answer(asked)
    again = desk(file)
    assert again.answer(asked) == first
    assert again.backend.calls == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "other",
    [
        request(1, seed=1),
        request(1, temperature=0.5),
        request(1, max_tokens=7),
        request(2),
        Request(messages=(Message(role="system", content="question 1"),), options=("A", "B")),
        Request(messages=(Message(role="user", content="question 1"),), options=("B", "A")),
    ],
)
def test_whatever_a_reply_depends_on_tells_requests_apart(file: Path, other: Request) -> None:
    this = desk(file)
    this.answer([request(1)])
    this.answer([other])
    assert len(this.backend.calls) == 2  # type: ignore[attr-defined]


def test_another_backend_does_not_see_the_replies(file: Path) -> None:
    desk(file).answer([request(1)])
    other = Scripted(identity={"model": "another"})
    desk(file, other).answer([request(1)])
    assert other.calls == ["question 1"]


@settings(max_examples=40)
@given(
    st.lists(st.tuples(ANY_TEXT, ANY_TEXT, NUMBERS, NUMBERS, st.integers(0, 2**60), st.floats(0, 1)), max_size=4),
)
def test_a_kept_reply_equals_the_one_that_was_paid_for(
    tmp_path_factory: pytest.TempPathFactory, spoken: list[tuple[str, str, float, float, int, float]]
) -> None:
    file = tmp_path_factory.mktemp("cache") / "judges.sqlite"
    asked: dict[Request, Reply] = {}
    for question, answer, cost, seconds, tokens, share in spoken:
        said = Reply(
            text=answer,
            probabilities=(share, 1 - share),
            mass=share,
            cut=share < 0.5,
            tokens_in=tokens,
            cost=cost,
            seconds=seconds,
        )
        asked[Request(messages=(Message(role="user", content=question),), options=("A", "\ud800"))] = said
    fresh, kept = desk(file, Scripted(asked.__getitem__)), desk(file, Scripted(asked.__getitem__))
    assert fresh.answer([*asked]) == kept.answer([*asked]) == [*asked.values()]
    assert kept.backend.calls == []  # type: ignore[attr-defined]
    assert [call.answer for call in ledger(file)] == [said.text for said in asked.values()] if asked else True
    fresh.close()
    kept.close()


@settings(max_examples=40)
@given(st.lists(st.integers(0, 5), max_size=12), st.sets(st.integers(0, 5)))
def test_any_list_is_answered_as_if_there_were_no_cache(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], known: set[int]
) -> None:
    this = desk(tmp_path_factory.mktemp("cache") / "judges.sqlite")
    this.answer([request(number) for number in known])
    asked = [request(number) for number in numbers]
    assert this.answer(asked) == [reply(its) for its in asked]
    assert len(this.backend.calls) == len(known | {*numbers})  # type: ignore[attr-defined]
    this.close()


def test_a_failure_is_not_kept_but_written_down(file: Path) -> None:
    said: list[Reply | Failed] = [Failed("down", cost=COST), reply(request(1))]
    this = desk(file, Scripted(lambda _: said.pop(0)))
    assert this.answer([request(1)]) == [Failed("down", cost=COST)]
    assert this.answer([request(1)]) == [reply(request(1))]
    assert [(call.outcome, call.answer) for call in ledger(file)] == [
        ("failed", "down"),
        ("reply", reply(request(1)).text),
    ]
    assert this.spent == Spent(2, TOKENS, 2 * COST)


def test_a_cost_of_a_failure_that_is_no_number_is_none(file: Path) -> None:
    this = desk(file, Scripted(lambda _: Failed("down", cost=float("nan"))))
    this.answer([request(1)])
    assert this.spent == Spent(1, 0, 0.0)


def test_a_budget_of_calls_is_kept_to_the_call(file: Path) -> None:
    this = desk(file, Scripted(concurrency=4), budget_calls=5)
    with pytest.raises(FeedbackError, match=r"budget_calls is 5, and account 'main-\w+' has paid for 5 calls, 55 tok"):
        this.answer([request(number) for number in range(20)])
    assert len(this.backend.calls) == 5  # type: ignore[attr-defined]
    assert outcomes(file) == {"reply": 5}  # what was under way was kept


@pytest.mark.parametrize(
    ("limit", "calls"),
    [({"budget_tokens": 5 * TOKENS}, 5), ({"budget_tokens": 5 * TOKENS + 1}, 6), ({"budget_cost": 1.0}, 4)],
)
@pytest.mark.parametrize("concurrency", [1, 3])
def test_other_budgets_are_overspent_by_no_more_than_what_was_under_way(
    file: Path, limit: dict[str, Any], calls: int, concurrency: int
) -> None:
    this = desk(file, Scripted(concurrency=concurrency), when_spent="abstain", **limit)
    this.answer([request(number) for number in range(20)])
    assert calls <= this.spent.calls < calls + concurrency


def test_a_spent_budget_leaves_the_rest_without_an_opinion(file: Path) -> None:
    desk(file).answer([request(7)])
    this = desk(file, budget_calls=2, when_spent="abstain")
    said = this.answer([request(number) for number in range(9)])
    assert [type(its) for its in said] == [Reply, Reply, *[Abstain] * 5, Reply, Abstain]  # what is known is free
    assert isinstance(said[3], Abstain)
    assert said[3].reason == "the judge's budget is spent (budget_calls)"


def test_a_resumed_run_goes_on_where_it_was_and_a_fresh_one_begins(file: Path) -> None:
    first = desk(file, budget_calls=3, when_spent="abstain")
    first.answer([request(0), request(1)])
    saved = first.state_dict()
    first.answer([request(2)])  # after the checkpoint, and paid for all the same
    resumed = desk(file, budget_calls=3, when_spent="abstain")
    resumed.load_state_dict(saved)
    assert resumed.state_dict() == saved
    assert resumed.spent == Spent(3, 3 * TOKENS, 3 * COST)
    assert [type(its) for its in resumed.answer([request(1), request(3)])] == [Reply, Abstain]
    fresh = desk(file, budget_calls=3)
    assert fresh.spent == Spent()
    assert fresh.account != resumed.account == first.account


def test_a_higher_limit_lets_a_stopped_run_go_on(file: Path) -> None:
    asked = [request(number) for number in range(6)]
    first = desk(file, budget_calls=4)
    with pytest.raises(FeedbackError, match="raise budget_calls"):
        first.answer(asked)
    resumed = desk(file, budget_calls=6)
    resumed.load_state_dict(first.state_dict())
    assert resumed.answer(asked) == [reply(its) for its in asked]
    assert resumed.backend.calls == ["question 4", "question 5"]  # type: ignore[attr-defined]


def test_runs_that_name_an_account_share_its_budget(file: Path) -> None:
    desk(file, account="team").answer([request(0)])
    other = desk(file, account="team", budget_calls=2, when_spent="abstain")
    other.load_state_dict({"account": "somebody else's"})  # the option was changed since
    assert [type(its) for its in other.answer([request(1), request(2)])] == [Reply, Abstain]


def test_what_is_free_is_answered_although_nothing_is_left(file: Path) -> None:
    this = desk(file, budget_calls=1)
    this.answer([request(0)])
    assert this.answer([request(0)] * 3) == [reply(request(0))] * 3


class Interrupted(Scripted):
    """Is interrupted after `replies` replies."""

    replies = 2
    error: BaseException = KeyboardInterrupt()

    def answer(self, requests: Iterable[tuple[int, Request]]) -> Iterator[tuple[int, Reply | Failed]]:
        for count, said in enumerate(super().answer(requests)):
            if count == self.replies:
                raise self.error
            yield said


def test_what_was_paid_for_before_an_interruption_is_kept_and_the_rest_let_go(file: Path) -> None:
    this = desk(file, Interrupted(concurrency=3))
    asked = [request(number) for number in range(9)]
    with pytest.raises(KeyboardInterrupt):
        this.answer(asked)
    assert outcomes(file) == {"reply": 2, "lost": len(this.backend.calls) - 2}  # type: ignore[attr-defined]
    assert this.spent.calls == len(this.backend.calls)  # type: ignore[attr-defined]  # they may have been paid for
    again = desk(file)
    assert again.answer(asked) == [reply(its) for its in asked]
    assert len(again.backend.calls) == 7  # type: ignore[attr-defined]


def test_what_is_wrong_with_all_requests_raises_and_lets_go(file: Path) -> None:
    backend = Interrupted(concurrency=2)
    backend.error = FeedbackError("the key was refused")
    with pytest.raises(FeedbackError, match="the key was refused"):
        desk(file, backend).answer([request(number) for number in range(9)])
    assert not desk(file).store.held([request(number).key(backend.identity) for number in range(9)])


def test_a_backend_that_is_not_let_finish_is_closed(file: Path) -> None:
    backend = Scripted(lambda _: None, concurrency=2)  # type: ignore[arg-type, return-value]
    with pytest.raises(PluginError, match="backend Scripted answered with a NoneType") as caught:
        desk(file, backend).answer([request(1), request(2)])
    assert backend.closed, caught  # although the error's frames still hold it


class Wrong(Scripted):
    def __init__(self, *said: tuple[int, Reply]) -> None:
        super().__init__()
        self.said = said

    def answer(self, requests: Iterable[tuple[int, Request]]) -> Iterator[tuple[int, Reply | Failed]]:
        self.taken = [*requests]
        yield from self.said


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ([], "gave no reply to 2 of 2 requests"),
        ([(0, reply(request(0)))], "gave no reply to 1 of 2 requests"),
        ([(0, reply(request(0)))] * 2, "answered request 0, which it had not taken or answered before"),
        ([(5, reply(request(0)))], "answered request 5"),
        ([(0, Reply(text="A"))], "gave 0 probabilities for 2 options"),
    ],
)
def test_a_backend_that_breaks_its_contract_is_named(file: Path, said: list[tuple[int, Reply]], complaint: str) -> None:
    with pytest.raises(PluginError, match=complaint):
        desk(file, Wrong(*said)).answer([request(0), request(1)])


class FindsOut(Scripted):
    """Knows how it reads choices after its first call."""

    def asked(self, asked: Request) -> None:
        super().asked(asked)
        self.identity = {"model": "scripted", "read": "logprobs"}


def test_replies_are_kept_by_what_a_backend_found_out_about_itself(file: Path) -> None:
    asked = [request(number) for number in range(5)]
    unknown = {"model": "scripted", "read": "auto"}
    desk(file, FindsOut(identity=unknown)).answer(asked)
    knows = Scripted(identity={"model": "scripted", "read": "logprobs"})
    assert desk(file, knows).answer(asked) == [reply(its) for its in asked]
    assert knows.calls == []
    again = FindsOut(identity=unknown)
    desk(file, again).answer(asked)
    assert len(again.calls) == 1  # to find out; the rest is known under what it found
    other = FindsOut(identity=unknown)
    other.asked = Scripted.asked.__get__(other)  # type: ignore[method-assign]
    desk(file, other).answer(asked[:1])
    assert len(other.calls) == 1  # nothing was kept under what it was before


def test_threads_that_want_the_same_pay_once(file: Path) -> None:
    this = desk(file, Scripted(seconds=0.005, concurrency=2))
    asked = [request(number) for number in range(20)]
    said: list[list[Any]] = []
    threads = [threading.Thread(target=lambda: said.append(this.answer(asked))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [[reply(its) for its in asked]] * 4
    assert sorted(this.backend.calls) == sorted({*this.backend.calls})  # type: ignore[attr-defined]


def test_who_waits_asks_once_the_other_has_failed(file: Path) -> None:
    started, release = threading.Event(), threading.Event()

    def down(_: Request) -> Failed:
        started.set()
        release.wait(30)
        return Failed("down")

    thread = threading.Thread(target=desk(file, Scripted(down)).answer, args=([request(1)],))
    thread.start()
    assert started.wait(30)
    waiting = desk(file)
    looked = Counter[str]()
    waiting.store.claim = lambda *given, its=waiting.store.claim: looked.update(["claim"]) or its(*given)  # type: ignore[assignment, misc]
    threading.Timer(0.3, release.set).start()
    assert waiting.answer([request(2), request(1)]) == [reply(request(2)), reply(request(1))]
    assert waiting.backend.calls == ["question 2", "question 1"]  # type: ignore[attr-defined]
    assert looked["claim"] <= 6  # between two looks it waits
    thread.join()


def test_a_claim_is_renewed_for_as_long_as_the_call_takes(file: Path) -> None:
    slow, other = desk(file, Scripted(seconds=1.0), lease=0.15), desk(file, lease=0.15)
    thread = threading.Thread(target=slow.answer, args=([request(1)],))
    thread.start()
    while not slow.backend.calls:  # type: ignore[attr-defined]
        pass
    assert other.answer([request(1)]) == [reply(request(1))]
    assert other.backend.calls == []  # type: ignore[attr-defined]
    thread.join()


def test_the_first_reply_stands_where_two_were_paid_for(file: Path) -> None:
    """A process that stood still for longer than its lease does not overwrite what others have seen."""
    late = Reply(text="late", probabilities=(0.5, 0.5))

    def stood_still(asked: Request) -> Reply:
        assert desk(file, lease=1e-9).answer([asked]) == [reply(asked)]  # takes the claim over
        return late

    assert desk(file, Scripted(stood_still), lease=1e-9).answer([request(1)]) == [reply(request(1))]
    assert [call.answer for call in ledger(file) if call.outcome == "reply"] == [reply(request(1)).text, "late"]


class Judge:
    """Asks of each answer by itself, and remembers its account."""

    def __init__(self, file: Path) -> None:
        self.desk = desk(file, budget_calls=100)

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        asked = [[request(f"{its.prompt.text} {its.rubric} {answer}") for answer in its.answers] for its in questions]
        said = iter(self.desk.answer([one for some in asked for one in some]))
        return [Verdict(outcomes=tuple(self.outcome(next(said)) for _ in some)) for some in asked]

    def outcome(self, said: Reply | Failed | Abstain) -> Outcome:
        return Score(said.probabilities[0], said.text) if isinstance(said, Reply) else said

    def state_dict(self) -> dict[str, Any]:
        return self.desk.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.desk.load_state_dict(state)


def test_a_judge_at_a_desk_keeps_the_contract(file: Path) -> None:
    check_judge(Judge(file))


def test_the_ledger_counts_what_was_saved(file: Path) -> None:
    this = desk(file)
    this.answer([request(1), request(1), request(2)])
    this.answer([request(1), request(2)])
    (its,) = totals(file)
    assert (its.calls, its.cached, its.failed) == (2, 3, 0)


def test_nothing_is_left_open(file: Path) -> None:
    this = desk(file)
    this.answer([request(1)])
    del this
    gc.collect()
    assert [its.name for its in file.parent.iterdir()] == [file.name]  # the log is gone with the last connection
