"""What fusion adds to the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlaif_core.offers import hookimpl, load_attribute

if TYPE_CHECKING:
    from typer import Typer


@hookimpl
def rlaif_commands(app: Typer) -> None:
    app.command()(load_attribute("rlaif_fusion.command:fuse"))
