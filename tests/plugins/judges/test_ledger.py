from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlaif_core import Failed, RlaifError
from rlaif_judges.asking import Reply, Request
from rlaif_judges.economy import ledger as module
from rlaif_judges.economy.budget import Economy
from rlaif_judges.economy.desk import Desk
from rlaif_judges.economy.ledger import Total, ledger, totals
from scripted_backend import COST, Scripted, reply, request


def ask(file: Path, account: str, *numbers: int, judge: str = "main", say=reply) -> None:  # type: ignore[no-untyped-def]
    desk = Desk(Scripted(say), judge=judge, economy=Economy(cache=str(file), account=account))
    desk.answer([request(number) for number in numbers])
    desk.close()


def test_every_call_is_a_row(tmp_path: Path) -> None:
    file, start = tmp_path / "file", time.time()
    ask(file, "a", 1, 2)
    ask(file, "b", 2, 3)
    calls = [*ledger(file)]
    assert [(its.account, its.judge, its.outcome) for its in calls] == [("a", "main", "reply")] * 2 + [
        ("b", "main", "reply")
    ]
    identity = Scripted().identity
    assert [its.key for its in calls] == [request(number).key(identity) for number in (1, 2, 3)]
    assert len({its.prompt for its in calls}) == 3
    assert len({its.identity for its in calls}) == 1
    assert all(start <= its.time <= time.time() for its in calls)
    first = calls[0]
    said = reply(request(1))
    assert (first.model, first.answer, first.probabilities) == ("scripted", said.text, said.probabilities)
    assert (first.tokens_in, first.tokens_out, first.cost) == (10, 1, COST)


def test_the_hash_of_a_prompt_is_that_of_the_conversation_alone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    desk = Desk(Scripted(), judge="main", economy=Economy(cache=str(file)))
    desk.answer([request(1), request(1, seed=1), request(2)])
    one, vote, other = ledger(file)
    assert one.prompt == vote.prompt != other.prompt
    assert one.key != vote.key


def test_one_account_alone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    ask(file, "a", 1)
    ask(file, "b", 2, 3)
    assert len([*ledger(file, "b")]) == len([*ledger(file, account="b")]) == 2
    assert [its.account for its in totals(file, "b")] == ["b"]
    assert [*ledger(file, "nobody")] == totals(file, "nobody") == []


def test_long_ones_are_read_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 3)
    ask(tmp_path / "file", "a", *range(10))
    assert [its.answer for its in ledger(tmp_path / "file")] == [reply(request(number)).text for number in range(10)]


def test_totals_by_judge_and_account(tmp_path: Path) -> None:
    file, seconds = tmp_path / "file", iter([0.4, 0.1, 0.3, 0.2, 9.0])

    def say(asked: Request) -> Reply | Failed:
        said = reply(asked)
        took = next(seconds)
        if took > 1:
            return Failed("down")
        return Reply(text="", probabilities=said.probabilities, tokens_in=7, tokens_out=2, cost=COST, seconds=took)

    ask(file, "a", 1, 2, 3, 4, 5, say=say)
    ask(file, "a", 1, 2, judge="other")
    common = {"judge": "main", "account": "a", "tokens_in": 28, "tokens_out": 8, "cost": 4 * COST}
    main = Total(calls=5, failed=1, cached=0, p50=0.2, p95=0.4, **common)  # type: ignore[arg-type]
    other = Total(
        judge="other", account="a", calls=0, failed=0, cached=2, tokens_in=0, tokens_out=0, cost=0, p50=0, p95=0
    )
    assert totals(file) == [main, other]


@given(st.lists(st.floats(0, 100), min_size=1), st.sampled_from([0.5, 0.95]))
def test_a_percentile_is_the_least_that_covers_its_share(seconds: list[float], share: float) -> None:
    seconds.sort()
    its = module._rank(seconds, share)
    covered = [sum(s <= bound for s in seconds) >= share * len(seconds) for bound in seconds]
    assert its == seconds[covered.index(True)]


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for read in (lambda: [*ledger(tmp_path / "file")], lambda: totals(tmp_path / "file")):
        with pytest.raises(RlaifError, match="there is no"):
            read()
    assert not [*tmp_path.iterdir()]


def test_no_secret_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written down comes from the request, the reply and a digest of the identity, and from nowhere else."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    backend = Scripted(identity={"model": "m", "url": "http://user:password@host"})
    desk = Desk(backend, judge="main", economy=Economy(cache=str(tmp_path / "file")))
    desk.answer([request(1)])
    desk.close()
    assert not {b for b in (b"sk-secret", b"password", b"question 1") if b in (tmp_path / "file").read_bytes()}
