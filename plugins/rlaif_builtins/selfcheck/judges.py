"""Traps of judging: what depends on the order of answers, what was not read and counts, what is paid for twice."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from rlaif_builtins.selfcheck.models import judge_checkpoint
from rlaif_builtins.selfcheck.registry import check, hold
from rlaif_core import Failed, FeedbackError, Judge, Plugins, Prompt, Question, Score, Verdict
from rlaif_core.testing import FakePolicy

WORDS = ("A", "B", "x", "y", "better,", "Answer", "alone.")


def asked(*answers: str) -> Question:
    return Question(prompt=Prompt(id="one", text="x or y"), answers=answers, form="compare")


def policy_judge(policy: FakePolicy, **options: Any) -> Judge:
    judge: Judge = Plugins.load().build("judges", "policy", {"weights": "now", **options}, {"policy": policy})
    return judge


def values(verdict: Verdict) -> list[float]:
    hold(all(isinstance(outcome, Score) for outcome in verdict.outcomes), f"no verdict: {verdict.outcomes}")
    return [outcome.value for outcome in verdict.outcomes if isinstance(outcome, Score)]


@check(29, "a judge's verdict hangs on no order, what it did not say is no number, and nothing is paid for twice")
def judgements() -> str:
    policy = FakePolicy(WORDS, seed=1)
    judge = policy_judge(policy)
    with torch.no_grad():
        policy.module.head.bias[policy.encode("A")] += 60.0  # type: ignore[index,union-attr,operator]
    ties = values(judge.ask([asked("x x y", "y")])[0])
    hold(max(map(abs, ties)) < 1e-6, f"a judge that always names the first prefers by {ties}")
    unread = policy_judge(FakePolicy(WORDS, seed=1), mass=0.99).ask([asked("x x y", "y")])[0].outcomes
    hold(all(isinstance(outcome, Failed) for outcome in unread), f"a judge that said neither was taken for {unread}")
    exchanged, again = _kept()
    return f"exchanged answers score {exchanged}; of {again} replies none was asked for again"


def _kept() -> tuple[str, int]:
    """What exchanged answers score, and how many replies a judge has kept for it; a second judge asks for none of them,
    and a budget of one call stops a third."""
    questions = [asked("x x y", "y"), asked("y", "x x y")]
    with judge_checkpoint() as folder, tempfile.TemporaryDirectory() as place:
        options = {"model": str(folder), "device": "cpu", "cache": str(Path(place) / "kept.sqlite")}

        def judge(**more: Any) -> Any:
            return Plugins.load().build("judges", "transformers", {**options, **more})

        first, second = judge(account="first"), judge(account="second")
        said = first.ask(questions)
        one, other = map(values, said)
        hold(one == [-value for value in other], f"exchanged answers score {one} and {other}")
        hold(one[0] == -one[1] != 0, f"two answers score {one}, which is not by how much each is better than the other")
        hold(said == second.ask(questions), "a verdict from the cache is not the one that was kept")
        paid, free = first.desk.spent.calls, second.desk.spent.calls
        third = judge(budget_calls=1, cache=str(Path(place) / "fresh.sqlite"))
        try:
            third.ask(questions)
            hold(False, "a budget of one call allowed two")
        except FeedbackError:
            hold(third.desk.spent.calls == 1, f"a budget of one call was overspent: {third.desk.spent.calls}")
        for its in (first, second, third):
            its.desk.close()
    hold(free == 0, f"{free} of {paid} calls were paid for twice")
    return f"{one[0]:+.3f} and {other[0]:+.3f}", int(paid)
