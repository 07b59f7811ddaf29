"""What judges are offered. Every part is named as text, so that listing them imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rlaif_core.offers import Offer, hookimpl

if TYPE_CHECKING:
    from typer import Typer

HERE = "rlaif_judges"


@hookimpl
def rlaif_judges() -> Iterator[Offer[Any]]:
    yield from ()


@hookimpl
def rlaif_commands(app: Typer) -> None:
    from rlaif_judges.economy.command import ledger

    app.command()(ledger)
