"""What the built-ins offer. Every part is named as text, so that listing them imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rlaif_core.offers import Offer, hookimpl

if TYPE_CHECKING:
    from typer import Typer

HERE = "rlaif_builtins"


@hookimpl
def rlaif_policies() -> Iterator[Offer[Any]]:
    yield Offer("transformers", "rlaif_core.policy:TransformersPolicy", "any causal language model of transformers")


@hookimpl
def rlaif_actions() -> Iterator[Offer[Any]]:
    yield Offer("sample", f"{HERE}.actions.sample:Sample", "draw a group of answers to every prompt")
    yield Offer("replay", f"{HERE}.actions.replay:Replay", "take the answers that the dataset recorded")


@hookimpl
def rlaif_rewards() -> Iterator[Offer[Any]]:
    yield Offer("recorded", f"{HERE}.recorded:Recorded", "the score that came with a recorded answer")


@hookimpl
def rlaif_credits() -> Iterator[Offer[Any]]:
    yield Offer("gae", f"{HERE}.credits.gae:Gae", "generalised advantage estimation with a critic's values")
    yield Offer("group", f"{HERE}.credits.group:Group", "each answer against the mean and spread of its group")
    yield Offer("leave_one_out", f"{HERE}.credits.leave_one_out:LeaveOneOut", "each answer against its siblings' mean")
    yield Offer("terminal", f"{HERE}.credits.terminal:Terminal", "the reward at the last token, discounted backwards")


@hookimpl
def rlaif_optimisers() -> Iterator[Offer[Any]]:
    yield Offer("dpo", f"{HERE}.optimisers.dpo:Dpo", "direct preference optimisation, of pairs within a group")
    yield Offer("grpo", f"{HERE}.optimisers.grpo:Grpo", "group-relative policy optimisation: a clipped ratio")
    yield Offer("ppo", f"{HERE}.optimisers.ppo:Ppo", "proximal policy optimisation with a value head")
    yield Offer("reinforce", f"{HERE}.optimisers.reinforce:Reinforce", "the plain policy gradient")


@hookimpl
def rlaif_commands(app: Typer) -> None:
    from rlaif_builtins.selfcheck.command import selfcheck

    app.command()(selfcheck)
