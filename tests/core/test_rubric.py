from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlaif_core.errors import ConfigError
from rlaif_core.rubric import Constitution, Criterion, Principle, load_rubric


def test_a_text_is_one_criterion_and_no_text_is_none() -> None:
    assert load_rubric(" Be kind. ") == (Criterion(text="Be kind."),)
    assert load_rubric("  ") == ()


def test_headings_are_criteria_and_numbered_lists_at_their_end_are_levels(tmp_path: Path) -> None:
    file = tmp_path / "rubric.md"
    file.write_text(
        "# What matters\n\n"
        "## Truth (weight 2)\nIs it true?\n1. of two\n\nNo list in the middle counts.\n\n"
        "1. false\n2) half true\n3: true\n"
        "## Kindness\nIs it kind?\n"
    )
    truth, kindness = load_rubric(str(file))
    assert truth.name == "Truth"
    assert truth.weight == 2
    assert truth.levels == ("false", "half true", "true")
    assert truth.text == "Is it true?\n1. of two\n\nNo list in the middle counts."
    assert kindness == Criterion(name="Kindness", text="Is it kind?")


@pytest.mark.parametrize("heading", ["## Truth (weight 2)", "## Truth (Weight: 2.0)", "##  Truth  ( weight = 2 )"])
def test_a_weight_may_be_written_in_several_ways(tmp_path: Path, heading: str) -> None:
    file = tmp_path / "rubric.md"
    file.write_text(f"{heading}\nIs it true?\n## Light (weightless)\nIs it light?\n")
    truth, light = load_rubric(str(file))
    assert (truth.name, truth.weight) == ("Truth", 2.0)
    assert (light.name, light.weight) == ("Light (weightless)", 1.0)


def test_without_headings_a_file_is_one_criterion(tmp_path: Path) -> None:
    file = tmp_path / "rubric.md"
    file.write_text("Is it true?\n1. no\n2. yes\n")
    assert load_rubric(str(file)) == (Criterion(text="Is it true?", levels=("no", "yes")),)


def test_tables_are_criteria(tmp_path: Path) -> None:
    file = tmp_path / "rubric.toml"
    file.write_text(
        '[[criteria]]\ntext = "true?"\nname = "truth"\nlevels = ["no", "yes"]\n[[criteria]]\ntext = "kind?"\n'
    )
    assert load_rubric(str(file)) == (
        Criterion(name="truth", text="true?", levels=("no", "yes")),
        Criterion(text="kind?"),
    )


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("r.md", " \n", "is empty"),
        ("r.md", "## a\nx\n## a\ny\n", "two criteria are called 'a'"),
        ("r.md", "## a\n## b\ny\n", "criterion 'a' has no text"),
        ("r.md", "## a (weight 0)\nx\n", "has weight 0.0, but must have one above 0"),
        ("r.md", "## a (weight -1)\nx\n", r"weight is '-1', but must be a number above 0: `## Name \(weight 2\)`"),
        ("r.md", "## a (weight 1.2.3)\nx\n", "weight is '1.2.3', but must be a number"),
        ("r.md", "## a (weight 2,5)\nx\n", "weight is '2,5', but must be a number"),
        ("r.md", "## a (weight)\nx\n", "weight is '', but must be a number"),
        ("r.md", "x\n" + "".join(f"{n}. y\n" for n in range(1, 11)), "has 10 levels, but must have 2 to 9"),
        ("r.md", "x\n" + "".join(f"{n}. y\n" for n in range(1, 10)) + "1. z", None),
        ("r.toml", "[[criteria]\n", "not valid TOML"),
        ("r.toml", "text = 'x'\n", r"it has no \[\[criteria\]\] tables"),
        ("r.toml", "[[criteria]]\ntext = 'x'\nlevel = ['a']\n", "no key 'level'"),
        ("r.toml", "[[criteria]]\ntext = 'x'\nlevels = 'a'\n", "levels is 'a', but must be a list of texts"),
        ("r.toml", "[[criteria]]\ntext = 'x'\nlevels = ['a']\n", "has 1 levels, but must have 2 to 9"),
        ("r.toml", "[[criteria]]\ntext = 'x'\nweight = '2'\n", "weight is '2', but must be a number"),
        ("r.toml", "[[criteria]]\ntext = 'x'\nweight = nan\n", "weight nan"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, name: str, text: str, complaint: str | None) -> None:
    file = tmp_path / name
    file.write_text(text)
    if complaint is None:  # a list that does not count up is part of the text
        assert load_rubric(str(file))[0].levels == ()
        return
    with pytest.raises(ConfigError, match=complaint):
        load_rubric(str(file))


def test_a_missing_file_is_said_with_where_it_was_looked_for() -> None:
    with pytest.raises(ConfigError, match=r"rubric 'nowhere.md' cannot be read from /"):
        load_rubric("nowhere.md")


@pytest.mark.parametrize("name", ["c.md", "c.toml", "c.jsonl", "c.json"])
def test_a_constitution_comes_in_several_formats(tmp_path: Path, name: str) -> None:
    true = {"text": "Be true.", "name": "truth", "critique": "What is false?", "revision": "Mend it."}
    rows = [{"text": "Be kind."}, true]
    file = tmp_path / name
    file.write_text(
        {
            "c.md": "# Principles\n\n- Be kind.\n2. Be true.\n",
            "c.toml": "[[principles]]\ntext = 'Be kind.'\n[[principles]]\ntext = 'Be true.'\nname = 'truth'\n"
            "critique = 'What is false?'\nrevision = 'Mend it.'\n",
            "c.jsonl": "\n".join(map(json.dumps, rows)),
            "c.json": json.dumps(rows),
        }[name]
    )
    kind, truth = Constitution.load(str(file)).principles
    assert kind == Principle(text="Be kind.")
    if name == "c.md":
        assert truth == Principle(text="Be true.")
    else:
        assert truth == Principle(**true)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("c.md", "# only a heading\n", "has no principles"),
        ("c.jsonl", '{"text": "x"}\nnonsense\n', "line 2: not valid JSON"),
        ("c.jsonl", '["x"]\n', "a principle is an object"),
        ("c.jsonl", '{"name": "x"}\n', "principle 1 says nothing"),
        ("c.jsonl", '{"text": 3}\n', "principle 1: text is 3, but must be a text"),
    ],
)
def test_a_wrong_constitution_is_refused(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        Constitution.load(str(file))


def test_what_is_drawn_depends_on_the_key_alone_and_comes_at_most_once() -> None:
    constitution = Constitution([Principle(text=str(n)) for n in range(20)])
    drawn = constitution.draw("a", 5)
    assert drawn == constitution.draw("a", 5) != constitution.draw("b", 5)
    assert len(set(drawn)) == 5
    assert len(constitution.draw("a", 99)) == 20
    seen = {its for n in range(400) for its in constitution.draw(str(n))}
    assert len(seen) == 20


def test_judging_and_revising_draw_what_was_written_for_them() -> None:
    for_both = [Principle(text="t", critique="c"), Principle(text="u"), Principle(critique="d")]
    constitution = Constitution(for_both)
    assert {its.text for n in range(50) for its in constitution.draw(str(n))} == {"t", "u"}
    assert {its.critique for n in range(50) for its in constitution.draw(str(n), revising=True)} == {"c", "d"}
    plain = Constitution([Principle(text="t")])
    assert plain.draw("x", revising=True) == [Principle(text="t")]


@pytest.mark.real
def test_the_published_constitution_can_be_read(real_data: Path) -> None:
    constitution = Constitution.load(str(real_data / "data" / "cai_principles.jsonl"))
    assert len(constitution.principles) == 15
    judging = {its.name for n in range(200) for its in constitution.draw(str(n))}
    revising = {its.name for n in range(200) for its in constitution.draw(str(n), revising=True)}
    assert not judging & revising
    assert len(judging | revising) == 15
