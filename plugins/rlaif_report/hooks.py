"""The verb `rlaif report`, and a report at the end of every run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlaif_core.errors import ConfigError
from rlaif_core.offers import hookimpl

if TYPE_CHECKING:
    from rlaif_core.run import Run


@hookimpl
def rlaif_run_finished(run: Run) -> None:
    from rlaif_report.page import write_report

    if run.step:
        write_report(run.folder)


@hookimpl
def rlaif_commands(app: Any) -> None:
    app.command()(report)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.", show_default=False)],
) -> None:
    """Write a run as one self-contained HTML page."""
    from rlaif_report.page import write_report

    if not (folder / "config.toml").is_file():
        raise ConfigError(f"{folder} is not a run folder: it has no config.toml")
    typer.echo(write_report(folder))
