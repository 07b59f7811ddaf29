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
    yield Offer("ensemble", f"{HERE}.ensemble:Ensemble", "several judges as one: mean, minimum, uncertainty, veto")
    yield Offer("function", f"{HERE}.function:FunctionJudge", "a Python function, by file or module")
    yield Offer("openai", f"{HERE}.openai:OpenAIJudge", "a model behind any OpenAI-compatible server")
    yield Offer("policy", f"{HERE}.policy:PolicyJudge", "the policy itself, now, as it began, or averaged")
    yield Offer("recorded", f"{HERE}.recorded:Recorded", "verdicts that were given before, from a file")
    yield Offer("transformers", f"{HERE}.transformers:Transformers", "any causal language model in this process")


@hookimpl
def rlaif_commands(app: Typer) -> None:
    from rlaif_judges.economy.command import ledger
    from rlaif_judges.exam.command import judge
    from rlaif_judges.label.command import label

    app.command()(judge)
    app.command()(ledger)
    app.command()(label)
