from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlaif_core import ConfigError
from rlaif_core.options import checked
from rlaif_judges.economy.budget import Economy, Spent, default_file


class Judge:
    def __init__(self, model: str, economy: Economy = Economy(cache="kept.sqlite")) -> None: ...


def test_its_fields_are_options_of_a_judges_table() -> None:
    given = checked(Judge, {"model": "m", "budget_calls": 3, "when_spent": "abstain"}, "judges.main")
    assert given["economy"] == Economy(cache="kept.sqlite", budget_calls=3, when_spent="abstain")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"budget_calls": -1}, "budget_calls is -1, but must be 0 .no limit. or more"),
        ({"budget_cost": float("nan")}, "budget_cost is nan"),
        ({"budget_cost": float("inf")}, "budget_cost is inf"),
        ({"when_spent": "go on"}, "when_spent is 'go on', but must be 'stop' or 'abstain'"),
        ({"account": "a\nb"}, "account is"),
        ({"account": "\ud800"}, "account is"),
        ({"account": " "}, "account is"),
        ({"cache": "", "budget_tokens": 1}, 'budget_tokens is counted .* with cache = "" there is none'),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Economy(**options)


@pytest.mark.parametrize(
    ("spent", "under_way", "limit"),
    [
        (Spent(4, 0, 0), 0, ""),
        (Spent(4, 0, 0), 1, "budget_calls"),
        (Spent(5, 0, 0), 0, "budget_calls"),
        (Spent(0, 99, 0), 4, ""),
        (Spent(0, 100, 0), 0, "budget_tokens"),
        (Spent(0, 0, 0.49), 0, ""),
        (Spent(0, 0, 0.5), 0, "budget_cost"),
    ],
)
def test_a_limit_is_exhausted_when_it_is_reached(spent: Spent, under_way: int, limit: str) -> None:
    assert Economy(budget_calls=5, budget_tokens=100, budget_cost=0.5).exhausted(spent, under_way) == limit


def test_without_limits_nothing_is_ever_exhausted() -> None:
    assert Economy().exhausted(Spent(10**9, 10**12, 1e9), 10**6) == ""


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RLAIF_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_file() == tmp_path / ".cache" / "rlaif" / "judges.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_file() == tmp_path / ".cache" / "rlaif" / "judges.sqlite"
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert Economy().file() == Path("/caches/rlaif/judges.sqlite")
    monkeypatch.setenv("RLAIF_CACHE", "~/mine.sqlite")
    assert Economy().file() == tmp_path / "mine.sqlite"
    assert Economy(cache="~/other").file() == tmp_path / "other"
    assert Economy(cache="").file() is None
