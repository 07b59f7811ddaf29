"""The results of an examination, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from rlaif_core.agreement import Interval
from rlaif_judges.exam.work import Result

if TYPE_CHECKING:
    from rich.table import Table


def plain(result: Result) -> str:
    """JSON with everything that was found."""
    return json.dumps(
        {
            "judges": [asdict(its) for its in result.judges],
            "kappa": [{"judges": list(both), "value": value} for both, value in result.kappas.items()],
            "alpha": result.alpha,
            "calibrations": {
                name: {key: value for key, value in asdict(its).items() if key != "calibrator"}
                for name, its in result.calibrations.items()
            },
        },
        indent=1,
    )


def tables(result: Result) -> Iterator[Table]:
    """What a person wants to see of it: how right each judge is, where it leans, how honest it is, and who agrees."""
    yield _judges(result)
    yield _leanings(result)
    if any(its.bins for its in result.judges):
        yield _reliability(result)
    if result.kappas:
        yield _agreement(result)
    if result.calibrations:
        yield _calibrations(result)


def _judges(result: Result) -> Table:
    table = _table("judge", "pairs", "silent", "right", "in one order", "orders agree", "kappa")
    for its in result.judges:
        silent = str(its.abstained + its.failed)
        shares = (_interval(its.accuracy), _interval(its.single), _percent(its.consistent))
        table.add_row(its.judge, str(its.pairs), silent, *shares, _number(its.kappa))
    return table


def _leanings(result: Result) -> Table:
    table = _table("judge", "to the first", "to the longer", "to its own", "Brier", "ECE")
    for its in result.judges:
        leanings = (its.position_bias, its.lengths.bias, its.own_bias)
        table.add_row(its.judge, *map(_signed, leanings), _number(its.brier), _number(its.ece))
    return table


def _reliability(result: Result) -> Table:
    table = _table("judge", "says", "is right", "pairs", "")
    for its in result.judges:
        for number, row in enumerate(its.bins):
            name = its.judge if number == 0 else ""
            bar = "█" * round(20 * row.observed)
            table.add_row(name, f"{row.predicted:.2f}", f"{row.observed:.2f}", str(row.count), f"[cyan]{bar}[/]")
    return table


def _agreement(result: Result) -> Table:
    table = _table("judges", "kappa")
    for (one, other), kappa in result.kappas.items():
        table.add_row(f"{one}, {other}", _number(kappa))
    if len(result.judges) > 2:
        table.add_row("all (alpha)", _number(result.alpha))
    return table


def _calibrations(result: Result) -> Table:
    table = _table("calibration", "ECE before", "after", "Brier before", "after")
    for name, its in result.calibrations.items():
        table.add_row(name, *map(_number, (its.ece_before, its.ece_after, its.brier_before, its.brier_after)))
    return table


def _table(first: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    return table


def _interval(its: Interval | None) -> str:
    if its is None or its.value is None:
        return "-"
    around = "" if its.low is None or its.high is None else f" [dim]{its.low:.0%}-{its.high:.0%}[/]"
    return f"{its.value:.1%}{around}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
