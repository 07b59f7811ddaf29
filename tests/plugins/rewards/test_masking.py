from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rlaif_core as rl
from rlaif_core.config import PromptTable
from rlaif_core.prompts import load_prompts, prompts_for
from rlaif_core.testing import make_rollouts
from rlaif_rewards.selfsupervised.masking import SPANS, masked
from rlaif_rewards.selfsupervised.matching import plain_words
from rlaif_rewards.selfsupervised.restoration import Restoration

WORDS = "in 1990 we saw Paris and Berlin , 7 or 8 trees everywhere . The".split()
HERE = "rlaif_rewards.selfsupervised.masking:masked"


def written(folder: Path, *texts: str, **columns: list[str]) -> PromptTable:
    rows = [{"text": text, **{name: its[at] for name, its in columns.items()}} for at, text in enumerate(texts)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PromptTable(files=str(folder / "texts.jsonl"))


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("It rose by 12.5% to 1,300.", {"12.5%", "1,300"}),
        ("Then we saw Ada Lovelace in Paris.", {"Ada Lovelace", "Paris"}),
        ("Paris is large. Everybody knows this.", {"Everybody"}),  # no name: both begin a sentence
        ("She went to Oslo; Oslo is cold in 2020.", {"2020"}),
        ("we saw nothing anywhere", {"anywhere"}),
        ("a cat sat", set()),
        ("red or red, 7 and 7", set()),  # it could be copied
    ],
)
def test_what_is_left_out(text: str, spans: set[str], tmp_path: Path) -> None:
    source = written(tmp_path, text)
    found = {row["span"] for seed in range(20) for row in masked(source, seed=seed)}
    assert found == spans
    for row in masked(source):
        assert row["text"] == text
        assert row["prompt"].endswith(text.replace(row["span"], "____"))


def test_kinds_patterns_and_frames(tmp_path: Path) -> None:
    source = written(tmp_path, "In 1990 we saw Paris.", question=["Which town did we see in 1990?"])
    (row,) = masked(source, spans=("names",), frame="{masked} What is missing?", blank="[...]")
    assert (row["prompt"], row["span"]) == ("In 1990 we saw [...]. What is missing?", "Paris")
    (row,) = masked(source, question="question")
    assert row["span"] == "Paris"  # the year stands in the question
    assert row["prompt"].startswith("Which town did we see in 1990?\n\nFill the gap")
    (row,) = masked(source, pattern=r"we (\w+)", frame="{question} {masked}", question="question")
    assert row["prompt"] == "Which town did we see in 1990? In 1990 we ____ Paris."
    odd = written(tmp_path, "we {question} saw {masked} everywhere")
    assert next(masked(odd, frame="<{masked}>"))["prompt"] == "<we {question} saw {masked} ____>"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"frame": "no place"}, r"frame is 'no place', but must hold \{masked\} or \{question\}"),
        ({"pattern": "("}, r"pattern '\(' is no regular expression"),
        ({"question": "absent"}, "prompt 'row-0' has no text in column 'absent'"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(rl.RlaifError, match=complaint):
        list(masked(written(tmp_path, "In 1990"), **options))


def test_from_a_config(tmp_path: Path) -> None:
    source = {"files": written(tmp_path, "In 1990 we met.", "no gap").files}
    table = PromptTable(dataset=HERE, options={"source": source})
    (prompt,) = load_prompts(table)
    assert prompt.meta["span"] == "1990"
    streamed = prompts_for(table.model_copy(update={"streaming": True}), 0)
    assert [its.meta["span"] for its in streamed.take(1)] == ["1990"]
    for options, complaint in (
        ({"source": source, "sead": 1}, r"\[prompts\] options: unknown option 'sead'; did you mean 'seed'"),
        ({"source": {"file": "x"}}, r"\[prompts\] options: option 'source' is wrong: extra inputs are not permitted"),
        ({"source": source, "spans": ["verbs"]}, r"option 'spans' is wrong: input should be 'numbers', 'names' or"),
        ({}, "option 'source' is missing"),
    ):
        with pytest.raises(rl.ConfigError, match=complaint):
            load_prompts(PromptTable(dataset=HERE, options=options))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset function with the option `text`."""
    file = tmp_path_factory.mktemp("texts") / "texts.py"
    file.write_text("def rows(text):\n    return [{'prompt': text}]\n")
    return f"{file}:rows"


@given(words=st.lists(st.sampled_from(WORDS), min_size=3))
def test_what_is_left_out_cannot_be_copied(texts: str, words: list[str]) -> None:
    text = " ".join(words)
    table = PromptTable(dataset=texts, options={"text": text})
    for row in masked(table, frame="{masked}"):
        left = plain_words(row["prompt"])
        gone = plain_words(row["span"])
        assert gone
        assert not any(left[at : at + len(gone)] == gone for at in range(len(left)))
        assert row["prompt"].replace("____", row["span"]) == text


def test_a_megabyte_takes_no_time() -> None:
    for letter in ("x", "7", "X", "x " * 2):
        for pattern in SPANS.values():
            list(pattern.finditer(letter * 2**18))


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "keys", "question", "least"),
    [
        ("claims_liar", {"column": "statement"}, "", 0.95),
        ("text_shakespeare", {}, "", 0.8),
        ("math_gsm8k", {"column": "answer"}, "question", 0.3),
        ("truthfulqa", {"column": "Best Answer"}, "Question", 0.5),
    ],
)
def test_real_texts_become_questions_whose_answers_are_rewarded(
    name: str, keys: dict[str, str], question: str, least: float, real_data: Path
) -> None:
    source = PromptTable(files=str(real_data / "data" / f"{name}.jsonl"), format="prompt", limit=200, **keys)
    made = list(masked(source, question=question))
    assert len(made) > least * 200
    assert len({row["id"] for row in made}) == len(made)
    asked = [rl.Prompt(id=row["id"], text=row["prompt"], meta=row) for row in made]
    right, wrong, whole = (
        [o.value for o in Restoration().score(make_rollouts(said, prompts=asked)) if isinstance(o, rl.Score)]
        for said in (
            [f"The {row['span'].upper()}." for row in made],
            [made[at - 1]["span"] for at in range(len(made))],
            [row["text"] for row in made],
        )
    )
    assert set(right) == {1.0}
    assert sum(wrong) / len(wrong) < 0.2
    assert sum(whole) / len(whole) < 0.5  # saying everything is not restoring what was left out
