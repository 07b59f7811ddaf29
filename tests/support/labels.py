"""Judges made on the spot, and rows for them to label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import rlaif_core as rl
from judging import Scripted, answers_in
from rlaif_judges.asking import Request, Straight
from rlaif_judges.hygiene import Hygiene
from rlaif_judges.language import LanguageJudge


class Given:
    """A plugin that offers ready-made judges by name."""

    def __init__(self, judges: Mapping[str, Any]) -> None:
        self._judges = judges

    @rl.hookimpl
    def rlaif_judges(self) -> list[rl.Offer[Any]]:
        return [rl.Offer(name, lambda judge=judge: judge) for name, judge in self._judges.items()]


class Telling:
    """A judge that says of each question what `say` returns, and remembers what it was asked."""

    def __init__(self, say: Callable[[rl.Question], Sequence[rl.Outcome]]) -> None:
        self.asked: list[rl.Question] = []
        self._say = say

    def ask(self, questions: Sequence[rl.Question]) -> list[rl.Verdict]:
        self.asked += questions
        return [rl.Verdict(outcomes=tuple(self._say(question))) for question in questions]


def longer(question: rl.Question) -> list[rl.Outcome]:
    """0.5 for the longest answer and -0.5 for others; of one alone a hundredth of its length."""
    lengths = [len(answer) for answer in question.answers]
    if len(lengths) == 1:
        return [rl.Score(lengths[0] / 100, f"{lengths[0]} long")]
    return [rl.Score(0.5 if length == max(lengths) else -0.5, f"{length} long") for length in lengths]


def language(choose: Callable[[Request], Any], cost: float = 0.0, **hygiene: Any) -> tuple[LanguageJudge, Scripted]:
    """A language model that is scripted, as a judge."""
    backend = Scripted(choose, cost)
    return LanguageJudge(Straight(backend), Hygiene(**hygiene)), backend


def shares(request: Request) -> Any:
    """Of two answers the longer one with 0.8, wherever it stands; texts are told by what they are asked for."""
    if not request.options:
        return "It is unkind." if "critique alone" in request.messages[-1].content else "A kind answer."
    texts = answers_in(request)
    if len(request.options) != len(texts):
        return [1 / len(request.options)] * len(request.options)
    best = max(texts, key=lambda label: len(texts[label]))
    return [0.8 if option == best else 0.2 / (len(texts) - 1) for option in request.options]


ROWS = [{"id": f"p{n}", "prompt": f"question {n}", "answers": [f"short {n}", f"a longer one {n}"]} for n in range(5)]
PRINCIPLES = [{"name": "kind", "critique_request": "What is unkind?", "revision_request": "Be kind."}]
