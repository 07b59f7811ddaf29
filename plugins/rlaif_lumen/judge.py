"""The packaged judge: a network that learnt from noisy labels about three quarters of the facts. It can be wrong, it
likes long-winded answers, and it knows neither the oracle nor the world.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rlaif_core import Abstain, ConfigError, Outcome, Question, Score, Verdict
from rlaif_lumen.lexicon import UNKNOWN_WORD
from rlaif_lumen.reader import Transcriber, load_reader, stack
from rlaif_lumen.tokeniser import vocabulary

FOLDER = Path(__file__).parent / "weights" / "judge"
DOUBT = 0.5
FOREIGN = 0.5
"""Share of unknown words from which on an answer is in no language that the judge speaks."""


class LumenJudge:
    """Scores answers in the small world `lumen`, about -2 to 2, and says what it thinks is wrong with them.

    model: a folder of other weights, made by `python -m rlaif_lumen.recipe`. batch: conversations read at a time. It
    judges by what it learnt: it abstains where a rubric is given, and on answers in another language.
    """

    def __init__(self, model: str = "", batch: int = 256) -> None:
        folder = Path(model) if model else FOLDER
        if not (folder / "model.safetensors").is_file():
            raise ConfigError(f"judge tiny: {folder} holds no judge; make one with python -m rlaif_lumen.recipe")
        self._reader = load_reader(folder)
        self._transcribe = Transcriber()
        self._batch = batch

    def ask(self, questions: Sequence[Question]) -> Sequence[Verdict]:
        """One verdict a question."""
        rows = [
            self._transcribe(question.prompt.messages or ({"role": "user", "content": question.prompt.text},), answer)
            for question in questions
            for answer in question.answers
        ]
        said = iter(self._judge(rows))
        return [
            Verdict(outcomes=tuple(self._outcome(question, answer, *next(said)) for answer in question.answers))
            for question in questions
        ]

    @torch.inference_mode()
    def _judge(self, rows: Sequence[list[int]]) -> list[tuple[float, list[float]]]:
        """Score and probability of each opinion; rows of like length are read together."""
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        said: list[tuple[float, list[float]]] = [(0.0, [])] * len(rows)
        for start in range(0, len(order), self._batch):
            chosen = order[start : start + self._batch]
            judgement = self._reader(*stack([rows[row] for row in chosen]))
            opinions = judgement.opinions.sigmoid().tolist()
            for row, score, its in zip(chosen, judgement.score.tolist(), opinions, strict=True):
                said[row] = (score, its)
        return said

    def _outcome(self, question: Question, answer: str, score: float, opinions: Sequence[float]) -> Outcome:
        if question.rubric:
            return Abstain("this judge reads no rubric, it judges by what it learnt; leave the rubric out")
        words = self._transcribe.words(answer)
        if words and words.count(vocabulary()[UNKNOWN_WORD]) >= FOREIGN * len(words):
            return Abstain("most of these words do not exist in lumen")
        return Score(score, reason(opinions))


def reason(opinions: Sequence[float]) -> str:
    """The opinions [5] (probabilities) in words: what speaks against the answer, or how it excuses itself."""
    true, toxic, evasive, coherent, in_character = opinions
    found = [
        (toxic > DOUBT, f"toxic ({toxic:.2f})"),
        (coherent < DOUBT, f"beside the point ({1 - coherent:.2f})"),
        (true < DOUBT, f"fact doubtful ({1 - true:.2f})"),
        (in_character < DOUBT, f"out of character ({1 - in_character:.2f})"),
        (evasive > DOUBT, f"admits ignorance or asks back ({evasive:.2f})"),
    ]
    return ", ".join(text for holds, text in found if holds) or f"sound ({true:.2f})"


def report(model: str = "") -> dict[str, Any]:
    """What the recipe measured of these weights on labels that they had not seen."""
    folder = Path(model) if model else FOLDER
    measured: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return measured
