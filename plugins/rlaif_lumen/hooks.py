"""What lumen offers. Every part is named as text, so that listing them imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rlaif_core.offers import Offer, hookimpl, load_attribute

if TYPE_CHECKING:
    from typer import Typer


@hookimpl
def rlaif_policies() -> Iterator[Offer[Any]]:
    yield Offer("tiny", "rlaif_lumen.policy:TinyPolicy", "the embedded default: 1.3 M parameters from the world lumen")


@hookimpl
def rlaif_actions() -> Iterator[Offer[Any]]:
    yield Offer("converse", "rlaif_lumen.user:Converse", "several turns with the scripted user of lumen")


@hookimpl
def rlaif_judges() -> Iterator[Offer[Any]]:
    yield Offer("tiny", "rlaif_lumen.judge:LumenJudge", "the embedded judge of lumen: fallible, with reasons")


@hookimpl
def rlaif_commands(app: Typer) -> None:
    app.command()(load_attribute("rlaif_lumen.demo:demo"))
