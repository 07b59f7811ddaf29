from __future__ import annotations

from collections import Counter

import pytest

from rlaif_core import Prompt
from rlaif_lumen.lexicon import FIRST_NAMES, PEOPLE, UNKNOWN
from rlaif_lumen.parse import read_utterance
from rlaif_lumen.prompts import MIXTURE, prompts
from rlaif_lumen.world import SPLITS, Split, make_world


def test_rows_are_a_function_of_their_arguments_and_a_longer_list_starts_alike() -> None:
    assert prompts(20, 3) == prompts(40, 3)[:20]
    assert prompts(20, 3) != prompts(20, 4)
    assert prompts(20, 3) != prompts(20, 3, "holdout")


def test_rows_are_prompts_with_ids_of_their_own() -> None:
    rows = prompts(50, 0) + prompts(50, 1) + prompts(50, 0, "holdout")
    made = [Prompt(id=row["id"], messages=row["messages"]) for row in rows]
    assert len({prompt.id for prompt in made}) == 150
    assert all(set(row) == {"id", "messages", "stratum"} for row in rows)
    assert all(prompt.messages[-1]["role"] == "user" for prompt in made)


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_asks_only_about_its_own_people(split: Split) -> None:
    cast = make_world().casts[split]
    for row in prompts(400, 0, split):
        said = {word for message in row["messages"] if message["role"] == "user" for word in message["content"].split()}
        assert said & set(PEOPLE) <= set(cast.people)
        assert said & set(FIRST_NAMES) <= set(cast.first_names)
        assert said & set(UNKNOWN) <= set(cast.unknown)


def test_kinds_come_as_the_mixture_says() -> None:
    rows = prompts(3000, 5)
    counts = Counter(row["stratum"] for row in rows)
    assert all(abs(counts[kind] / 3000 - share) < 0.025 for kind, share in MIXTURE.items())
    for row in rows[:300]:
        utterance = read_utterance(row["messages"][-1]["content"])
        assert utterance is not None
        assert utterance.kind == row["stratum"]


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="no split 'test'; there are train, validation, holdout"):
        prompts(1, 0, "test")  # type: ignore[arg-type]
