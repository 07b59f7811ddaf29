"""What guards are offered. Every part is named as text, so that listing them imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rlaif_core.offers import Offer, hookimpl

if TYPE_CHECKING:
    from typer import Typer

HERE = "rlaif_guards"


@hookimpl
def rlaif_actions() -> Iterator[Offer[Any]]:
    yield Offer(
        "quantilise", f"{HERE}.quantilise:Quantilise", "of several answers one out of the best share by a judge"
    )


@hookimpl
def rlaif_observers() -> Iterator[Offer[Any]]:
    yield Offer("canary", f"{HERE}.canary:Canary", "what a judge held out of training says, against the reward")
    yield Offer("exploits", f"{HERE}.exploits:Exploits", "phrases and habits that go with reward out of line")
    yield Offer("kl_budget", f"{HERE}.kl_budget:KlBudget", "stop once the policy is so far from where it began")


@hookimpl
def rlaif_commands(app: Typer) -> None:
    from rlaif_guards.command import exploits

    app.command()(exploits)
