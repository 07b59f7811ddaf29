"""Labels as rows of datasets, in the columns that `replay` and `recorded`, `rlaif fit` and TRL's trainers read.

| of | columns besides id, prompt, judge, cost |
|---|---|
| scores, ranking | answers, scores (null: no opinion), reasons; ranks (1 for the best) |
| preferences | chosen, rejected, probability, margin, tie, reason |
| critiques | answer, critique, principle |
| revisions | answer, completion, chain of principle, critique and revision, cut (by the limit of tokens) |

Where several judges label, the first decides, and each has the columns of its own besides, behind its name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any

import pyarrow as pa

from rlaif_core import Prompt
from rlaif_judges.label.chains import Chains
from rlaif_judges.label.config import LabelTable, What
from rlaif_judges.label.questions import Places, Questions
from rlaif_judges.label.results import Judged, Results, listed
from rlaif_judges.label.saving import MESSAGES, NUMBER, TEXT, TRUTH
from rlaif_judges.label.texts import critiques, revisions

Row = dict[str, Any]
CHAIN = pa.list_(pa.struct([("name", TEXT), ("principle", TEXT), ("critique", TEXT), ("revision", TEXT)]))
COMPARED = 45
"""Pairs of answers to a prompt that statistics look at where answers were scored: those among ten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Makes the rows of each kind. `lost` is told of every question without an answer, `pair` of the margins of two
    answers by judge, each above 0 where the first is the better one."""

    label: LabelTable
    judges: Sequence[str]
    prompts: Sequence[Prompt]
    questions: Questions
    chains: Chains
    results: Results
    lost: Callable[[Row], None]
    pair: Callable[[What, Prompt, Places, Mapping[str, float | None]], None]

    @property
    def chat(self) -> bool:
        """Whether prompts are messages, and then so are answers."""
        return bool(self.prompts[0].messages)

    def of(self, what: What) -> tuple[Iterator[Row], dict[str, Any]]:
        """The rows of a kind, and the type of each column."""
        answer = MESSAGES if self.chat else TEXT
        first: dict[str, Any] = {"id": TEXT, "prompt": answer}
        last: dict[str, Any] = {"judge": TEXT, "cost": NUMBER}
        principle: dict[str, Any] = {"principle": pa.list_(TEXT)} if self.questions.standards.drawn else {}
        if what == "preferences":
            own = {"chosen": answer, "rejected": answer, "probability": NUMBER, "margin": NUMBER, "tie": TRUTH}
            each = {"probability": NUMBER, "reason": TEXT, "cost": NUMBER}
            return self._preferences(), first | own | {"reason": TEXT} | principle | last | self._by_judge(each)
        if what == "critiques":
            return critiques(self), first | {"answer": TEXT, "critique": TEXT, "principle": TEXT, "name": TEXT} | last
        if what == "revisions":
            return revisions(self), first | {"answer": TEXT, "completion": answer, "chain": CHAIN, "cut": TRUTH} | last
        numbers, texts = pa.list_(NUMBER), pa.list_(TEXT)
        own = {"answers": texts, "scores": numbers, "reasons": texts}
        own |= {"ranks": pa.list_(pa.int64())} if what == "ranking" else {}
        if self.questions.standards.width > 1:
            own |= {"criteria": texts, "by_criterion": pa.list_(numbers)}
        each = {"scores": numbers, "reasons": texts, "cost": NUMBER}
        return self._scored(what), first | own | principle | last | self._by_judge(each)

    def _by_judge(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        several = self.judges if len(self.judges) > 1 else ()
        return {f"{judge}_{name}": kind for judge in several for name, kind in columns.items()}

    def _judged(self, what: What, prompt: Prompt, places: Places) -> dict[str, Judged]:
        said = {judge: self.results.judged(what, judge, prompt, places) for judge in self.judges}
        for judge, its in said.items():
            for record in its.lacking:
                self.lost(listed(what, judge, prompt, places, record))
        return said

    def _preferences(self) -> Iterator[Row]:
        lead = self.judges[0]
        for prompt in self.prompts:
            texts, pairs = self.questions.answers.of(prompt), self.questions.places("preferences", prompt)
            for places in pairs:
                said = self._judged("preferences", prompt, places)
                shares = {
                    judge: self.results.probability(judge, its.margin) if its.values else None
                    for judge, its in said.items()
                }
                signs = {name: _signed(share, self.results) for name, share in shares.items()}
                self.pair("preferences", prompt, places, signs)
                for judge in self.judges:
                    self.results.count("preferences", judge).ties += signs[judge] == 0
                share, its = shares[lead], said[lead]
                if share is None or (self.results.tied(share) and self.label.ties == "drop"):
                    continue
                better = 0 if share >= 0.5 else 1
                row = self.row(prompt, places if len(pairs) > 1 else (), lead, its.cost)
                row |= self._by_what(prompt)
                chosen, rejected = (self.answer(texts[places[at]]) for at in (better, 1 - better))
                row |= {"chosen": chosen, "rejected": rejected}
                row |= {"probability": max(share, 1 - share), "margin": abs(its.margin)}
                row |= {"tie": self.results.tied(share), "reason": its.reasons[better]}
                for judge in self.judges if len(self.judges) > 1 else ():
                    other, its = shares[judge], said[judge]
                    row[f"{judge}_probability"] = other if other is None or better == 0 else 1 - other
                    row[f"{judge}_reason"] = its.reasons[better] if its.reasons else None
                    row[f"{judge}_cost"] = its.cost
                yield row

    def _scored(self, what: What) -> Iterator[Row]:
        for prompt in self.prompts:
            texts, places = self.questions.answers.of(prompt), self.questions.places(what, prompt)
            said = [self._judged(what, prompt, its) for its in places]
            about = [place for its in places for place in its if texts[place].strip()]
            found = {judge: _by_place(places, [its[judge] for its in said]) for judge in self.judges}
            self._compared(what, prompt, about, found)
            lead = found[self.judges[0]]
            if not any(place in lead for place in about):
                continue
            row = self.row(prompt, (), self.judges[0], _cost(said, self.judges[0])) | self._by_what(prompt)
            row |= {
                "answers": [texts[place] for place in about],
                "scores": [lead[place][0] if place in lead else None for place in about],
                "reasons": [lead[place][1] if place in lead else None for place in about],
            }
            if what == "ranking":
                row["ranks"] = [1 + sum(lead[other][0] > lead[place][0] for other in about) for place in about]
            if self.questions.standards.width > 1:
                criteria = self.questions.standards.of(prompt)
                row["criteria"] = [criterion.name for criterion in criteria]
                row["by_criterion"] = [
                    [lead[place][2][number] if place in lead else None for place in about]
                    for number in range(len(criteria))
                ]
            for judge in self.judges if len(self.judges) > 1 else ():
                its = found[judge]
                row[f"{judge}_scores"] = [its[place][0] if place in its else None for place in about]
                row[f"{judge}_reasons"] = [its[place][1] if place in its else None for place in about]
                row[f"{judge}_cost"] = _cost(said, judge)
            yield row

    def _compared(
        self, what: What, prompt: Prompt, about: Sequence[int], found: Mapping[str, Mapping[int, tuple[Any, ...]]]
    ) -> None:
        for one, other in islice(combinations(about, 2), COMPARED):
            margins = {
                judge: its[one][0] - its[other][0] if one in its and other in its else None
                for judge, its in found.items()
            }
            self.pair(what, prompt, (one, other), margins)

    def row(self, prompt: Prompt, behind: Sequence[int | str], judge: str, cost: float) -> Row:
        """What a row of any kind holds; `behind` is added to the prompt's id where one prompt has several rows."""
        asked = (
            [{"role": its["role"], "content": its["content"]} for its in prompt.messages] if self.chat else prompt.text
        )
        return {"id": "/".join(map(str, (prompt.id, *behind))), "prompt": asked, "judge": judge, "cost": cost}

    def _by_what(self, prompt: Prompt) -> Row:
        """The principles that were drawn, where there are any."""
        its = self.questions.standards
        return {"principle": [criterion.text for criterion in its.of(prompt)]} if its.drawn else {}

    def answer(self, text: str) -> Any:
        """An answer as the prompts' kind has it: a text, or the assistant's message."""
        return [{"role": "assistant", "content": text}] if self.chat else text


def _signed(share: float | None, results: Results) -> float | None:
    return None if share is None else 0.0 if results.tied(share) else share - 0.5


def _by_place(places: Sequence[Places], said: Sequence[Judged]) -> dict[int, tuple[float, str, tuple[float, ...]]]:
    """Value, reason and values by criterion of every place that has them."""
    found = {}
    for its, judged in zip(places, said, strict=True):
        for at, value in enumerate(judged.values):
            found[its[at]] = value, judged.reasons[at], tuple(values[at] for values in judged.by_criterion)
    return found


def _cost(said: Sequence[Mapping[str, Judged]], judge: str) -> float:
    return math.fsum(its[judge].cost for its in said)
