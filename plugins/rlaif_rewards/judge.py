"""A judge's verdict on each answer by itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlaif_core import ConfigError, Judge, Outcome, PluginError, Question, Rollouts, Verdict


class JudgeReward:
    """What the judge says of each answer, seen alone. `judge` names a [judges] table.

    `rubric` is what to judge by: a text, or the path of a file that ends in .md. All questions of a batch are asked
    at once.
    """

    def __init__(self, judge: Judge, rubric: str = "") -> None:
        self.judge = judge
        self.rubric = _read(rubric) if rubric.endswith(".md") else rubric

    def score(self, rollouts: Rollouts) -> Sequence[Outcome]:
        pairs = zip(rollouts.prompts, rollouts.completions, strict=True)
        questions = [Question(prompt=prompt, answers=(answer,), rubric=self.rubric) for prompt, answer in pairs]
        return asked(self.judge, questions)


def asked(judge: Judge, questions: Sequence[Question]) -> list[Outcome]:
    """The one outcome of each question about a single answer, all asked at once."""
    verdicts = list(judge.ask(questions))
    whose = f"judge {type(judge).__name__}"
    if len(verdicts) != len(questions):
        raise PluginError(f"{whose} gave {len(verdicts)} verdicts on {len(questions)} questions; one each is due")
    return [_only(verdict, whose) for verdict in verdicts]


def _only(verdict: Verdict, whose: str) -> Outcome:
    if not isinstance(verdict, Verdict) or len(verdict.outcomes) != 1:
        raise PluginError(f"{whose} said {verdict!r} of one answer; a Verdict with one outcome is due")
    return verdict.outcomes[0]


def _read(path: str) -> str:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"judge: rubric {path!r} cannot be read from {Path.cwd()}: {error}") from None
    if not text:
        raise ConfigError(f"judge: rubric {path!r} is empty")
    return text
