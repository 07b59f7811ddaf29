"""What fusion adds to the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlaif_core.offers import hookimpl

if TYPE_CHECKING:
    from typer import Typer


@hookimpl
def rlaif_commands(app: Typer) -> None:
    """Nothing yet."""
