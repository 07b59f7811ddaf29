from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest

from rlaif_core import Prompt, Question
from rlaif_judges.label.answers import Recorded
from rlaif_judges.label.config import LabelConfig
from rlaif_judges.label.questions import Questions, Unit
from rlaif_judges.label.standards import Standards


def questions(*answers: str, count: int = 1, reference: str = "", **label) -> tuple[Questions, list[Prompt]]:
    prompts = [Prompt(id=str(n), text="?", meta={"answers": list(answers), "best": "r"}) for n in range(count)]
    config = LabelConfig.of(
        {
            "prompts": {},
            "answers": {"reference": reference},
            "judges": {"main": {"use": "x"}},
            "label": {"what": ["scores"], **label},
        }
    )
    return Questions(config, Recorded(config.answers, prompts), Standards(config.label)), prompts


@pytest.mark.parametrize(
    ("what", "places"),
    [
        ("scores", [(0,), (1,), (2,)]),
        ("preferences", [(0, 1), (0, 2), (1, 2)]),
        ("ranking", [(0, 1, 2)]),
    ],
)
def test_about_whom_the_questions_are(what, places) -> None:
    its, (prompt,) = questions("a", "b", "c")
    assert its.places(what, prompt) == places


def test_pairs_are_drawn_without_repetition_and_each_as_often() -> None:
    its, prompts = questions("a", "b", "c", "d", count=600, pairs=2)
    drawn = [its.places("preferences", prompt) for prompt in prompts]
    assert all(len({*pairs}) == 2 for pairs in drawn)
    counts = Counter(pair for pairs in drawn for pair in pairs)
    assert set(counts) == {*combinations(range(4), 2)}
    assert all(140 < count < 260 for count in counts.values())
    assert drawn == [its.places("preferences", prompt) for prompt in prompts]


def test_every_unit_has_a_key_of_its_own(tmp_path) -> None:
    (tmp_path / "r.md").write_text("## A\na\n## B\nb\n")
    its, prompts = questions("a", "b", "c", count=3, rubric=str(tmp_path / "r.md"))
    units = [unit for what in ("scores", "preferences", "ranking") for unit in its.units(what, "main", prompts)]
    assert len({unit.key for unit in units}) == len(units) == 3 * 2 * (3 + 3 + 1)


def test_half_of_the_pairs_are_shown_the_other_way_round() -> None:
    its, prompts = questions("first", "second", count=400)
    asked = [its.question(Unit("preferences", "main", prompt, (0, 1))).answers[0] for prompt in prompts]
    assert 160 < asked.count("first") < 240


@pytest.mark.parametrize(
    ("what", "answers", "reason"),
    [
        ("scores", ["  "], "an answer is empty"),
        ("preferences", ["a", ""], "an answer is empty"),
        ("preferences", ["a", "a"], "the answers are the same text"),
        ("ranking", ["a", " "], "there are no two answers to be ranked"),
    ],
)
def test_what_need_not_be_asked(what, answers, reason) -> None:
    its, (prompt,) = questions(*answers)
    unit = Unit(what, "main", prompt, its.places(what, prompt)[0])
    assert its.question(unit) == reason


def test_a_question_holds_criterion_levels_and_reference(tmp_path) -> None:
    (tmp_path / "r.md").write_text("## Truth\nIs it true?\n1. no\n2. yes\n")
    its, (prompt,) = questions("a", "b", rubric=str(tmp_path / "r.md"), reference="best")
    question = its.question(Unit("scores", "main", prompt, (1,)))
    assert question == Question(
        prompt=prompt, answers=("b",), rubric="Is it true?", levels=("no", "yes"), reference="r", form="score"
    )
