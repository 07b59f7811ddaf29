"""From answers to a trained policy: a real model labels real answers, and a run learns from the labels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rlaif_core as rl
from rlaif_core.cli import main
from rlaif_core.prompts import load_prompts

CONFIG = """
[prompts]
files = "{data}/data/pref_llmbar.jsonl"
column = "input"
id = "item"
map = "{folder}/short.py:short"
limit = 4
[answers]
columns = ["output_1", "output_2"]
[judges.main]
use = "transformers"
model = "{data}/models/tiny-chat"
[label]
what = ["scores", "preferences", "critiques", "revisions"]
constitution = "{data}/data/cai_principles.jsonl"
rounds = 2
max_tokens = 24
ties = "keep"
out = "{folder}/labels"
[gold]
column = "label"
first = 1
second = 2
"""
SHORT = """
def short(row):  # the judge's model reads 512 tokens
    return row if all(len(row[name]) < 200 for name in ("input", "output_1", "output_2")) else None
"""
RUN = """
[run]
steps = 1
out = "{folder}/run"
tensorboard = false
[policy]
model = "{data}/models/tiny-chat"
[prompts]
files = "{folder}/labels/preferences"
batch = 2
[[actions]]
use = "replay"
[[rewards]]
use = "recorded"
[credit]
use = "group"
[optimiser]
use = "dpo"
lr = 1e-5
"""


@pytest.mark.real
@pytest.mark.slow
def test_a_real_model_labels_and_a_run_learns_from_it(real_data: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "short.py").write_text(SHORT)
    for name, text in (("label.toml", CONFIG), ("run.toml", RUN)):
        (tmp_path / name).write_text(text.format(data=real_data, folder=tmp_path))
    assert main(["label", str(tmp_path / "label.toml"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == {"scores": 4, "preferences": 4, "critiques": 8, "revisions": 8}
    entries = {entry["what"]: entry for entry in report["labels"]}
    assert entries["preferences"]["calls"] == 8
    assert all(entry["tokens_in"] > 0 for entry in entries.values())
    assert 0 <= entries["preferences"]["gold_accuracy"] <= 1
    assert 0 <= entries["preferences"]["disagreement"] <= 1
    config = rl.RunConfig.load(tmp_path / "run.toml")
    assert all(0.5 <= prompt.meta["probability"] <= 1 for prompt in load_prompts(config.prompts))
    history = rl.run(config, progress=False)
    assert history[0]["reward"] == 0.5  # one chosen and one rejected answer to each prompt
    assert main(["label", str(tmp_path / "label.toml")]) == 0
    assert "scores by main" not in capsys.readouterr().err  # nothing was asked again
