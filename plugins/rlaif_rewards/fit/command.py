"""The verb `rlaif fit`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from rlaif_core.errors import inert


def fit(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file.", show_default=False)],
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, as in fit.seed=5. Repeatable.")
    ] = None,
    out: Annotated[str | None, typer.Option("--out", metavar="DIR", help="Where to, in place of [fit] out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of a table.")] = False,
) -> None:
    """Train a classifier or a reward model on labelled data; measure it on rows held out, beside a plain baseline."""
    from rich.console import Console

    from rlaif_rewards.fit.config import FitConfig

    chosen = FitConfig.load(config, [*(sets or []), *([f"fit.out={json.dumps(out)}"] if out else [])])
    # A pipe has no width: give every row one line, so that grep finds all of it.
    console = Console(stderr=as_json, width=None if sys.stdout.isatty() else 10_000)
    from rlaif_rewards.fit.fitting import fit as fitting

    with console.status("fitting") as status:
        done = fitting(chosen, status.update)
    if as_json:
        typer.echo(json.dumps(done.report, indent=1))
        return
    for line in notes(done.report):
        typer.echo(line)
    console.print(table(done.report))
    for line in after(done.report, str(done.folder)):
        typer.echo(line)


def notes(report: dict[str, Any]) -> list[str]:
    """What to know of the rows, in words."""
    lines = [f"{report['learnt']} rows to learn from, {report['held_out']} held out, of {report['groups']} groups"]
    if leaked := report["left_out_because_held_out_too"]:
        lines.append(f"{leaked} rows were left out, because a text of theirs is held out too")
    if clashes := report["contradicting_rows"]:
        shown = report["a_contradicting_text"]
        lines.append(inert(f"{clashes} rows contradict another one of the same text, as {shown!r} does"))
    return lines


def after(report: dict[str, Any], folder: str) -> list[str]:
    """What to know besides the table, and how to use what was fitted."""
    lines = []
    if length := report.get("length_correlation"):
        lines.append(
            f"correlation with length, held out: {length['after']:+.3f}, without ODIN {length['before']:+.3f}, of the "
            f"length head {length['length_head']:+.3f}"
        )
    its = report.get("members", {})
    if its:
        lines.append(
            f"{len(its['of'])} members: {its['spread']:.3f} apart on the mean (standard deviation), and of two of them "
            f"one decides otherwise in {its['disagreement']:.1%} of the rows held out"
        )
    models = [f"{folder}/{name}" for name in its.get("of", ())] or [folder]
    return lines + [f'use it in [[rewards]]: use = "{report["target"]}", model = "{model}"' for model in models]


def table(report: dict[str, Any]) -> Any:
    """The figures on rows held out: ours, then what it has to beat."""
    from rich.table import Table

    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("held out", "AUROC", "accuracy", "Brier", "log loss", "ECE"):
        made.add_column(title, justify="left" if title == "held out" else "right", no_wrap=title != "held out")
    for name, row in report["rows"].items():
        cells = [_with_interval(row, "auroc"), _with_interval(row, "accuracy")]
        made.add_row(name, *cells, *(f"{row[figure]:.3f}" for figure in ("brier", "log_loss", "ece")))
    return made


def _with_interval(row: dict[str, Any], figure: str) -> str:
    if row[figure] is None:
        return "undefined"
    span = row[f"{figure}_interval"]
    return f"{row[figure]:.3f}" + (f" ({span[0]:.3f} to {span[1]:.3f})" if span else "")
