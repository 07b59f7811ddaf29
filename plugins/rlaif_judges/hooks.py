"""What judges are offered. Every part is named as text, so that listing them imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rlaif_core.offers import Offer, hookimpl, load_attribute

if TYPE_CHECKING:
    from typer import Typer

HERE = "rlaif_judges"


@hookimpl
def rlaif_judges() -> Iterator[Offer[Any]]:
    yield Offer("ensemble", f"{HERE}.ensemble:Ensemble", "several judges as one: mean, minimum, uncertainty, veto")
    yield Offer("function", f"{HERE}.function:FunctionJudge", "a Python function, by file or module")
    yield Offer("policy", f"{HERE}.policy:PolicyJudge", "the policy itself, now, as it began, or averaged")
    yield Offer("transformers", f"{HERE}.transformers:Transformers", "any causal language model in this process")


@hookimpl
def rlaif_commands(app: Typer) -> None:
    app.command()(load_attribute(f"{HERE}.label.command:label"))
