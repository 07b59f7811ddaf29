from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlaif_core import ConfigError
from rlaif_rewards.fit.config import FitConfig

LABEL = {"label": "class"}


def test_little_need_be_said() -> None:
    config = FitConfig.of({"data": LABEL, "fit": {"kind": "tfidf"}})
    assert (config.framing, config.fit.target) == ("none", "classifier")
    assert FitConfig.of({"data": {**LABEL, "prompt": "q"}, "fit": {"kind": "tfidf"}}).framing == "pair"
    assert FitConfig.of({"data": {}, "fit": {"kind": "tfidf", "target": "reward_model"}}).framing == "pair"


@pytest.mark.parametrize(
    ("tables", "complaint"),
    [
        ({"data": {"labell": "x"}}, r"unknown key 'labell' in \[data\]; did you mean 'label'\? Keys: dataset"),
        ({"dat": {}}, r"unknown table \[dat\]; did you mean \[data\]\?"),
        ({}, r"table \[data\] is missing"),
        ({"data": {}, "fit": {"kind": "tfidf"}}, r"a classifier needs \[data\] label, or votes"),
        ({"data": LABEL}, r"kind 'stacked' needs \[linear\] model, a language model"),
        ({"data": {**LABEL, "votes": ["a", "b"]}}, "label and votes are two ways to say the same; give one"),
        ({"data": {"votes": ["a"]}}, "votes names one column; name the columns of all labels"),
        ({"data": {**LABEL, "held_out": 1.0}}, r"\[data\] 'held_out' is wrong"),
        ({"data": LABEL, "fit": {"kind": "bert"}}, r"\[fit\] 'kind' is wrong: input should be 'tfidf', 'embedding'"),
        ({"data": LABEL, "fit": {"kind": "tfidf", "framing": "chat"}}, "reads a text alone or beside its prompt"),
        ({"data": LABEL, "fit": {"kind": "tfidf", "framing": "pair"}}, r"shows a prompt, but \[data\] prompt names"),
        ({"data": LABEL, "fit": {"kind": "tfidf"}, "linear": {"words": [3, 2]}}, r"words = \(3, 2\): write \[least"),
        ({"data": LABEL, "fit": {"kind": "tfidf"}, "linear": {"words": [], "characters": []}}, "are both empty"),
        ({"data": LABEL, "fit": {"kind": "tfidf"}, "linear": {"strengths": [0]}}, "strengths.0' is wrong"),
        ({"data": LABEL, "fit": {"kind": "transformer"}, "transformer": {"heads": 3}}, "is no even multiple of 3"),
        (
            {"data": {"format": "stepwise"}, "fit": {"kind": "tfidf", "target": "reward_model"}},
            r"\[data\] format = 'stepwise' records no two answers to compare; a reward model learns from 'preference'",
        ),
        ({"data": {**LABEL, "columns": {"completion": "a"}}, "fit": {"kind": "tfidf"}}, "format and columns are a rew"),
        (
            {"data": {"margin": "m"}, "fit": {"kind": "tfidf", "target": "reward_model", "ranking": "plackett_luce"}},
            "'plackett_luce' is about answers with scores",
        ),
        ({"data": LABEL, "fit": {"kind": "tfidf", "odin": True}}, "odin keeps length out of a reward model; a class"),
        ({"data": {"tie": "t"}, "fit": {"kind": "tfidf", "target": "reward_model"}}, "tie wants a model of ties"),
    ],
)
def test_what_does_not_fit_together_is_said(tables: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        FitConfig.of(tables, "fit.toml")


def test_a_file_with_overrides(tmp_path: Path) -> None:
    path = tmp_path / "fit.toml"
    path.write_text('[data]\nlabel = "class"\nfiles = "${RLAIF_TEST_FOLDER}/rows.jsonl"\n[fit]\nkind = "tfidf"\n')
    config = FitConfig.load(path, ["fit.seed=3"])
    assert config.fit.seed == 3
    with pytest.raises(ConfigError, match="RLAIF_TEST_FOLDER is not set"):
        config.expanded()
