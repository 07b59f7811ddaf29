"""The verb `rlaif ledger`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def ledger(
    file: Annotated[
        Path | None, typer.Argument(help="A judge's cache; without it the one that judges share by default.")
    ] = None,
    account: Annotated[str | None, typer.Option(help="Only what this account paid for.")] = None,
    calls: Annotated[bool, typer.Option("--calls", help="Print every call, a JSON object a line.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show what judges asked for and what it cost, by judge and account."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rlaif_core.errors import inert
    from rlaif_judges.economy.budget import default_file
    from rlaif_judges.economy.ledger import ledger as read
    from rlaif_judges.economy.ledger import totals

    path = file or default_file()
    if calls:
        for call in read(path, account):
            typer.echo(json.dumps(asdict(call)))
        return
    sums = totals(path, account)
    if as_json:
        typer.echo(json.dumps([asdict(its) for its in sums], indent=1))
        return
    table = Table(box=None, padding=(0, 1))
    for name in ("judge", "account"):
        table.add_column(name, overflow="fold")  # a name that is cut could be anybody's
    for name in ("calls", "failed", "cached", "tokens in", "tokens out", "cost", "p50", "p95"):
        table.add_column(name, justify="right")
    for its in sums:
        counts = (its.calls, its.failed, its.cached, its.tokens_in, its.tokens_out)
        seconds = (f"{its.p50:.2f} s", f"{its.p95:.2f} s")
        names = (Text(inert(its.judge)), Text(inert(its.account)))  # names are no markup
        table.add_row(*names, *(f"{count:,}" for count in counts), f"{its.cost:.4g}", *seconds)
    Console().print(table)
