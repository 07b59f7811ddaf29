"""Backends that say what a test wants them to say, and remember what they were asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from rlaif_core import Failed, Prompt, Question
from rlaif_judges.asking import Backend, Reply, Request


class Scripted(Backend):
    """Answers every request with what `choose` says: probabilities of its options, a text, or a failure."""

    def __init__(self, choose: Callable[[Request], Sequence[float] | str | Failed], cost: float = 0.0) -> None:
        self.asked: list[Request] = []
        self._choose, self._cost = choose, cost

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"backend": "scripted"}

    def answer(self, requests: Iterable[tuple[int, Request]]) -> Iterator[tuple[int, Reply | Failed]]:
        for number, request in requests:
            self.asked.append(request)
            said = self._choose(request)
            if isinstance(said, Failed):
                yield number, said
            elif isinstance(said, str):
                yield number, Reply(text=said, cost=self._cost)
            else:
                text = request.options[max(range(len(said)), key=lambda k: said[k])]
                yield number, Reply(text=text, probabilities=tuple(said), cost=self._cost)


def named(request: Request, label: str) -> list[float]:
    """All of the probability on one option."""
    return [float(option == label) for option in request.options]


def answers_in(request: Request) -> dict[str, str]:
    """Label -> the answer shown under it; "" for the only one."""
    found: dict[str, str] = {}
    lines = request.messages[1].content.split("\n")
    for at, line in enumerate(lines):
        if line.startswith("<answer"):
            label = line.removeprefix("<answer").strip(" >").rpartition(" ")[0]
            end = next(n for n in range(at, len(lines)) if lines[n].startswith("</answer"))
            found[label] = "\n".join(lines[at + 1 : end])
    return found


def ask(*answers: str, form: str = "compare", prompt: str = "Which city?", **more: Any) -> Question:
    return Question(prompt=Prompt(id="p", text=prompt), answers=answers, form=form, **more)
