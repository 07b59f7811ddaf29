from __future__ import annotations

from rlaif_core import Failed
from rlaif_judges.economy.budget import Economy, Spent
from rlaif_judges.economy.desk import Desk
from scripted_backend import COST, TOKENS, Scripted, reply, request


def test_every_call_asks_anew_but_for_what_is_equal_within_it() -> None:
    backend = Scripted(concurrency=3)
    desk = Desk(backend, judge="main", economy=Economy(cache=""))
    assert desk.answer([request(1), request(2), request(1)]) == [reply(request(number)) for number in (1, 2, 1)]
    desk.answer([request(1)])
    assert backend.calls == ["question 1", "question 2", "question 1"]


def test_what_was_spent_is_counted_by_account_until_the_process_ends() -> None:
    desk = Desk(Scripted(), judge="main", economy=Economy(cache=""))
    desk.answer([request(1), request(2)])
    assert desk.spent == Spent(2, 2 * TOKENS, 2 * COST)
    desk.backend = Scripted(lambda _: Failed("down", cost=COST))
    assert desk.answer([request(3)]) == [Failed("down", cost=COST)]
    assert desk.spent == Spent(3, 2 * TOKENS, 3 * COST)
    desk.load_state_dict({"account": "another"})
    assert desk.spent == Spent()
