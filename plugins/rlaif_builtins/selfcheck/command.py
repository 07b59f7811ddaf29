"""The verb `rlaif selfcheck`."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def selfcheck(
    only: Annotated[list[int] | None, typer.Option("--only", help="Number of a check; may be given again.")] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="CONFIG[:NAME]", help="Attack the judges of a config, or the one of that name, instead."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Try the known traps of this kind of training on this very installation; say what held."""
    if judge is not None:
        _attacked(judge, as_json)
        return
    from rich.console import Console
    from rich.table import Table

    from rlaif_builtins.selfcheck import every, perform
    from rlaif_core.policy import quiet

    chosen = [entry for entry in every() if not only or entry.number in only]
    console = Console(stderr=as_json)
    with console.status("checking"), quiet():  # some checks do on purpose what transformers warns of
        outcomes = [perform(entry) for entry in chosen]
    failed = [outcome for outcome in outcomes if not outcome.held]
    if as_json:
        rows = [{"number": o.check.number, "title": o.check.title, "held": o.held, "said": o.said} for o in outcomes]
        typer.echo(json.dumps(rows, indent=1))
    else:
        table = Table(box=None, padding=(0, 1), show_header=False)
        for outcome in outcomes:
            mark = "[green]held[/]" if outcome.held else "[bold red]FAILED[/]"
            table.add_row(mark, str(outcome.check.number), outcome.check.title, f"[dim]{outcome.said}[/]")
        console.print(table)
        seconds = sum(outcome.seconds for outcome in outcomes)
        console.print(f"{len(outcomes) - len(failed)} of {len(outcomes)} held, in {seconds:.1f} s")
    if failed or not chosen:
        raise typer.Exit(1)


def _attacked(given: str, as_json: bool) -> None:
    """How often each judge lets a worse answer pass for the better one, attack by attack."""
    from rich.console import Console

    from rlaif_builtins.selfcheck.judge import Tried, table, tried
    from rlaif_core.policy import quiet

    console = Console(stderr=as_json)
    found: list[Tried] = []
    with console.status("attacking"), quiet():
        found.extend(tried(given))
    if as_json:
        typer.echo(json.dumps([each.plain for each in found], indent=1))
    else:
        for each in found:
            console.print(table(each))
