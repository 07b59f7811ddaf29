"""Asking a judge, whoever wrote it: what it says is a verdict on each question, with an outcome for each answer.

Everybody who asks judges does it through here, so that a judge that says something else is told so by its name.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlaif_core.errors import PluginError
from rlaif_core.feedback import Question, Verdict
from rlaif_core.protocols import Judge


def verdicts_of(judge: Judge, questions: Sequence[Question]) -> list[Verdict]:
    """The judge's verdicts, one a question, each with one outcome an answer; PluginError where they are not."""
    said, whose = judge.ask(questions), f"judge {type(judge).__name__}"
    if not hasattr(said, "__len__"):
        raise PluginError(f"{whose} returned a {type(said).__name__}; return a list, a verdict a question")
    if len(said) != len(questions):
        raise PluginError(f"{whose} gave {len(said)} verdicts on {len(questions)} questions; one each is due")
    for question, verdict in zip(questions, said, strict=True):
        count = len(question.answers)
        if not isinstance(verdict, Verdict) or len(verdict.outcomes) != count:
            raise PluginError(
                f"{whose} said {verdict!r:.200} of {count} answers; a Verdict with as many outcomes is due"
            )
    return list(said)
