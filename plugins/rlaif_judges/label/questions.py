"""Everything that a judge is asked in a labelling, one unit at a time: what is asked, about whom, under which key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from random import Random

from rlaif_core import Prompt, Question
from rlaif_core.feedback import Form
from rlaif_judges.label.answers import Answers, reference
from rlaif_judges.label.config import LabelConfig, What
from rlaif_judges.label.journal import Key
from rlaif_judges.label.standards import Standards

FORMS: dict[str, Form] = {"scores": "score", "preferences": "compare", "ranking": "rank"}
Places = tuple[int, ...]
"""Which of the answers to a prompt: one to be scored, two to be compared, all to be ranked."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One question: to which judge, about which answers to a prompt, by which of the criteria."""

    what: What
    judge: str
    prompt: Prompt
    places: Places
    number: int = 0

    @property
    def key(self) -> Key:
        """Under which the journal keeps what was said."""
        return self.what, self.judge, self.prompt.id, " ".join(map(str, self.places)), str(self.number)


class Questions:
    """What a config asks of the answers to each prompt."""

    def __init__(self, config: LabelConfig, answers: Answers, standards: Standards) -> None:
        self._label, self._reference = config.label, config.answers.reference
        self.answers, self.standards = answers, standards

    def places(self, what: What, prompt: Prompt) -> list[Places]:
        """Whom the questions of a kind are about."""
        count = self.answers.count(prompt)
        if what == "ranking":
            return [tuple(place for place, text in enumerate(self.answers.of(prompt)) if text.strip())]
        if what != "preferences":
            return [(place,) for place in range(count)]
        pairs = list(combinations(range(count), 2))
        if 0 < self._label.pairs < len(pairs):
            pairs = sorted(Random(f"{self._label.seed}/pairs/{prompt.id}").sample(pairs, self._label.pairs))
        return list(pairs)

    def units(self, what: What, judge: str, prompts: Iterable[Prompt]) -> Iterator[Unit]:
        """Every question of a kind to a judge, in the order of the prompts."""
        for prompt in prompts:
            for places in self.places(what, prompt):
                for number in range(self.standards.width):
                    yield Unit(what, judge, prompt, places, number)

    def shown(self, unit: Unit) -> Places:
        """The places in the order in which the judge is shown them: drawn, as recorded answers may have the better one
        first."""
        drawn = Random(f"{self._label.seed}/order/{unit.prompt.id}/{unit.places}")
        return tuple(reversed(unit.places)) if unit.what != "scores" and drawn.random() < 0.5 else unit.places

    def question(self, unit: Unit) -> Question | str:
        """The question, or why it need not be asked."""
        texts = self.answers.of(unit.prompt)
        about = [texts[place] for place in unit.places]
        if unit.what == "ranking" and len(about) < 2:
            return "there are no two answers to be ranked"
        if not all(text.strip() for text in about):
            return "an answer is empty"
        if unit.what == "preferences" and len({*about}) == 1:
            return "the answers are the same text"
        criterion = self.standards.of(unit.prompt)[unit.number]
        return Question(
            prompt=unit.prompt,
            answers=tuple(texts[place] for place in self.shown(unit)),
            form=FORMS[unit.what],
            rubric=criterion.text,
            levels=criterion.levels,
            reference=reference(unit.prompt, self._reference),
        )
