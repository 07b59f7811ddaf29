from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlaif_core.cli import main
from rlaif_judges.economy.budget import Economy
from rlaif_judges.economy.desk import Desk
from scripted_backend import Scripted, reply, request


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "judges.sqlite"
    for account in ("[bold]run", "other"):
        desk = Desk(Scripted(), judge="main", economy=Economy(cache=str(path), account=account))
        desk.answer([request(1), request(2)])
        desk.close()
    monkeypatch.setenv("RLAIF_CACHE", str(path))
    monkeypatch.setenv("COLUMNS", "120")
    return path


def test_a_table_of_what_judges_cost(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger"]) == 0
    head, bought, saved = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "judge",
        "account",
        "calls",
        "failed",
        "cached",
        *"tokens in tokens out cost p50 p95".split(),
    ]
    assert bought.split() == ["main", "[bold]run", "2", "0", "0", "20", "2", "0.5", "0.00", "s", "0.00", "s"]
    assert saved.split()[:5] == ["main", "other", "0", "0", "2"]


def test_the_same_for_programs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", str(file), "--json", "--account", "other"]) == 0
    (its,) = json.loads(capsys.readouterr().out)
    assert (its["account"], its["cached"]) == ("other", 2)


def test_every_call_a_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", "--calls"]) == 0
    calls = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [call["answer"] for call in calls] == [reply(request(number)).text for number in (1, 2)]


def test_a_file_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", str(tmp_path / "none")]) != 0
    assert "there is no" in capsys.readouterr().err
