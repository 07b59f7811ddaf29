from __future__ import annotations

from pathlib import Path

import pytest

from rlaif_core import ConfigError
from rlaif_fusion.config import FuseConfig

WHOLE = """
[data]
files = "pairs.jsonl"
first = "output_1"
second = "output_2"
[[sources]]
name = "person"
column = "annotator"
[[sources]]
name = "judge"
column = "preferences.judge"
kind = "probability"
order = "swapped"
[[sources]]
name = "model"
kind = "score"
columns = ["score_1", "score_2"]
[trusted]
column = "label"
held_out = 0.25
[fusion]
method = "joint"
"""


def load(folder: Path, text: str) -> FuseConfig:
    (folder / "fuse.toml").write_text(text, encoding="utf-8")
    return FuseConfig.load(folder / "fuse.toml")


def test_whole_config(tmp_path: Path) -> None:
    config = load(tmp_path, WHOLE)
    person, judge, model = config.sources
    assert (person.kind, person.first, person.second, person.tie) == ("vote", 1, 2, 0)
    assert (judge.first, judge.second, judge.order) == (1.0, 0.0, "swapped")
    assert model.columns == ("score_1", "score_2")
    assert config.trusted is not None
    assert (config.trusted.held_out, config.fusion.method, config.fusion.mirrored) == (0.25, "joint", True)
    assert config.data.prompts().column == "prompt"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[data]", "[dat]", r"unknown table \[dat\]; did you mean \[data\]"),
        ('first = "output_1"', 'frist = "output_1"', r"unknown key 'frist' in \[data\]; did you mean 'first'"),
        ('column = "annotator"', "", "needs a column"),
        ('column = "annotator"', 'columns = ["a", "b"]', "of kind vote is read from one column"),
        ('name = "judge"', 'name = "person"', "two .* are called 'person'"),
        ('kind = "probability"', 'kind = "guess"', r"\[sources\] '1.kind' is wrong"),
        ('order = "swapped"', "first = 0.0", "two different numbers"),
        ('order = "swapped"', 'first = "yes"', "two different numbers"),
        ('column = "label"', "", r"\[trusted\] needs the key 'column'"),
        ("held_out = 0.25", "held_out = 1.0", r"'held_out' is wrong"),
        ('method = "joint"', 'method = "magic"', r"\[fusion\] 'method' is wrong"),
        ('method = "joint"', "method = ", "not valid TOML"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load(tmp_path, WHOLE.replace(old, new))


def test_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        FuseConfig.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="table \\[data\\] is missing"):
        load(tmp_path, "")
