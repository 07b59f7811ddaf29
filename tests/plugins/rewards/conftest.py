"""Instruments made on the spot: judges that score by a function, functions written to a file, answers to ask about."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rlaif_core import Prompt, Question, Rollouts, Sampling, Score, Verdict


class FunctionJudge:
    """Scores each answer by a function of its question, and remembers what it was asked. Numbers are from 0 to 1, and
    said from -1 to 1 as judges do, unless they are said `plainly`."""

    def __init__(self, function: Callable[[Question], Any], plainly: bool = False) -> None:
        self.function, self.plainly = function, plainly
        self.asked: list[Question] = []

    def ask(self, questions: Sequence[Question]) -> list[Verdict]:
        self.asked += questions
        said = [self.function(question) for question in questions]
        return [Verdict(outcomes=(self._outcome(its),)) for its in said]

    def _outcome(self, said: Any) -> Any:
        if not isinstance(said, int | float):
            return said
        return Score(said if self.plainly else 2 * said - 1, "said so")


@pytest.fixture(scope="session")
def judging() -> type[FunctionJudge]:
    """judging(function): a judge that says of each question what the function does."""
    return FunctionJudge


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], str]:
    """written("def f(text): ..."): the path "file.py:f" of the function, in a file of its own."""
    count = 0

    def write(source: str) -> str:
        nonlocal count
        count += 1
        file = tmp_path / f"functions_{count}.py"
        file.write_text(source, encoding="utf-8")
        return f"{file}:{source.partition('def ')[2].partition('(')[0]}"

    return write


@pytest.fixture(scope="session")
def real_rows(real_data: Path) -> Callable[[str], list[dict[str, Any]]]:
    """real_rows("refusals_xstest"): the rows of one of the public data sets."""

    def read(name: str) -> list[dict[str, Any]]:
        with (real_data / "data" / f"{name}.jsonl").open(encoding="utf-8") as file:
            return [json.loads(line) for line in file]

    return read


@dataclass(frozen=True)
class Sampled:
    """Answers of lumen's policy to questions about facts, ten a question; of each the fact's exposure and the oracle's
    label."""

    rollouts: Rollouts
    exposure: list[str]
    labels: list[str]

    def claims(self, *exposures: str) -> list[int]:
        """The rows that claim something, about facts of these exposures."""
        said = ("correct", "hallucination", "incoherent")
        return [
            row
            for row, (exposure, label) in enumerate(zip(self.exposure, self.labels, strict=True))
            if exposure in exposures and label in said
        ]


@pytest.fixture(scope="session")
def lumen() -> Sampled:
    """What the packaged policy says of 56 facts each that are common, rare, never said, and myths."""
    from rlaif_lumen.grammar import Utterance
    from rlaif_lumen.lexicon import ATTRIBUTES, PEOPLE
    from rlaif_lumen.oracle import Oracle
    from rlaif_lumen.policy import TinyPolicy

    oracle, random = Oracle(), Random(0)
    exposure = oracle.world.exposure
    system = {"role": "system", "content": "name is pip feel merry like tea"}
    prompts = []
    for kind in ("common", "rare", "unseen", "myth"):
        keys = [key for key, its in exposure.items() if its == kind and key[0] in PEOPLE and key[1] in ATTRIBUTES]
        for key in random.sample(keys, 56):
            asked = {"role": "user", "content": Utterance("fact", *key).text}
            prompts.append(Prompt(id=" ".join(key), messages=(system, asked), meta={"exposure": kind}))
    sampler = TinyPolicy(device="cpu").sampler(seed=0, step=0, group=10)
    rollouts = sampler.sample(prompts, Sampling(max_tokens=24))
    pairs = list(zip(rollouts.prompts, rollouts.completions, strict=True))
    labels = [str(oracle.grade(prompt.messages, answer).label) for prompt, answer in pairs]
    return Sampled(rollouts, [prompt.meta["exposure"] for prompt, _ in pairs], labels)


LUMEN_KEY = """
from rlaif_lumen.evaluate import statement

def key(text):
    said = statement(text)
    return None if said == "ignorance" else text if said == "other" else said
"""


@pytest.fixture
def lumen_key(written: Callable[[str], str]) -> str:
    """The path of a function that reads lumen's sentences: what an answer states, None for ignorance."""
    path = written(LUMEN_KEY)
    return path[: path.rindex(":")] + ":key"
