"""The verb `rlaif judge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def judge(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file.", show_default=False)],
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, as in exam.calibrate=platt.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Examine judges on pairs whose better answer is known: accuracy, bias, agreement, calibration."""
    from rich.console import Console

    from rlaif_core.policy import quiet
    from rlaif_judges.exam.config import ExamConfig
    from rlaif_judges.exam.report import plain, tables
    from rlaif_judges.exam.work import exam

    console = Console(stderr=as_json)
    with console.status("asking"), quiet():
        result = exam(ExamConfig.load(config, sets or []))
    if as_json:
        typer.echo(plain(result))
        return
    for table in tables(result):
        console.print(table)
        console.print()
    console.print(f"in {result.folder}: report.json" + "".join(f", {name}" for name in result.calibrations))
